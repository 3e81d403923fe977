"""Guards cues that are not learned but written down, a constant that test summaries choose, and a ROUGE of our own."""

from __future__ import annotations

import pytest

from manyheads.baseline.summarization import Constant, CueSentence, Lead, _occurrences, _overlaps, f1, summarizers
from manyheads.metric.rouge import Rouge1

SENTENCES = [
    "We running the runs, run!",
    "the dog ran and the cat ran",
    "A dog. The dog; the-dog",
    "zürich 3.5 ox oxen",
    "",
]


def test_our_rouge_1_is_the_scorers() -> None:
    table = _overlaps(SENTENCES)
    for row, one in enumerate(SENTENCES):
        theirs = Rouge1().each([one] * len(SENTENCES), [[other] for other in SENTENCES])
        assert (100 * table[row]).tolist() == pytest.approx(theirs, abs=1e-4)
        assert [100 * f1(_occurrences(one), _occurrences(other)) for other in SENTENCES] == pytest.approx(theirs)


def test_lead_is_the_first_sentence() -> None:
    assert Lead([], [])(["One thing. Two.", ""]) == ["One thing.", ""]


def test_the_constant_is_the_summary_nearest_to_the_others_of_train() -> None:
    made = Constant(["x"] * 3, [["red house"], ["a red house here"], ["a blue car here"]])
    assert made(["anything", "else"]) == ["a red house here"] * 2


def test_a_cue_is_found_in_train_and_picks_the_sentence() -> None:
    """The cue is a made-up word, so that no list of cues could have it; a text without it gets its first sentence."""
    topics = ["wolves", "boats", "maps", "bread", "rivers", "stones", "letters", "clouds"]
    texts = [f"Much is known. It zorps {topic} well. The end." for topic in topics]
    made = CueSentence(texts, [[f"{topic} well"] for topic in topics])
    assert made.cues[0] == "it"  # of equal ones the first
    assert made(["Old news. It zorps tea. More.", "Nothing here. At all."]) == ["It zorps tea.", "Nothing here."]


def test_no_cue_is_taken_where_the_first_sentence_is_best() -> None:
    texts = [f"About {topic}. Other words." for topic in ("wolves", "boats", "maps")]
    assert CueSentence(texts, [["about wolves"], ["about boats"], ["about maps"]]).cues == []


def test_nothing_to_learn_from_is_no_failure() -> None:
    for rule in summarizers().values():
        assert len(rule([""], [["x"]])(["A text. More."])) == 1
