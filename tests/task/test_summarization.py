"""Guards: document and summary that change places, one reference taken where there are several, another text than the document
that copies are counted in."""

from manyheads.task.base import Scored
from manyheads.task.summarization import Summarization
from manyheads.testing import Rows, byte_tokenizer


def test_the_summary_is_learned_from_the_document_and_held_to_all_references() -> None:
    rows = [{"document": "long text", "summary": "short", "references": ["brief", "short"]}]
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Summarization.fields)
    task = Summarization(source=source, tokenizer=byte_tokenizer(), seed=1, kind="causal")
    found = source.rows("test")[:]
    assert (task.inputs(found), task.target_texts(found), task.targets(found)) == (
        ["long text"], ["short"], [{"references": ["brief", "short"], "source": "long text"}],
    )  # fmt: skip
    assert task.scores("test", {0: "brief"})["rouge_1"] == 100.0


ROWS = [
    {
        "document": "the red fox ran far . It sleeps",
        "summary": "a red fox ran",
        "references": ["a fox", "a red fox ran"],
    },
    {"document": "two cats", "summary": "cats", "references": None},
]


def made() -> Summarization:
    source = Rows({"train": ROWS, "validation": ROWS, "test": ROWS})
    source.ask(Summarization.fields)
    return Summarization(source=source, tokenizer=byte_tokenizer(), seed=1, kind="causal", max_source_tokens=3)


def test_how_long_the_outputs_are_and_how_much_of_them_is_new_by_hand() -> None:
    """5 words for the nearest reference of 4, and 1 for 1. Of the 4 pairs of words "the red", "ran far" are the document's,
    whatever their case, though 3 tokens of it alone were read; a text of one word has no pairs."""
    scores = made().scores("test", {0: "The red dog ran far", 1: "cats"})
    names = ["rouge_1", "rouge_2", "rouge_l", "rouge_lsum", "length_ratio", "novel_bigrams"]
    assert list(scores) == names
    assert (scores["length_ratio"], scores["novel_bigrams"]) == (6 / 5, 2 / 4)


def test_a_line_has_the_scores_that_its_text_has() -> None:
    outputs = {0: "The red dog ran far", 1: "cats"}
    first, second = made().predictions(Scored({}, {}, outputs))
    assert (first["target"], second["target"]) == (["a fox", "a red fox ran"], "cats")
    assert (first["score"]["length_ratio"], first["score"]["novel_bigrams"]) == (5 / 4, 0.5)
    assert (second["score"]["length_ratio"], "novel_bigrams" in second["score"]) == (1.0, False)


def test_baselines_have_them_too() -> None:
    """A first sentence is copied: nothing of it is new."""
    found = made().baselines("test")
    assert found["lead_1"]["novel_bigrams"] == 0.0
    # "the red fox ran far ." has 6 words for 4, and "two cats" 2 for 1
    assert found["lead_1"]["length_ratio"] == 8 / 5
