"""Guards: document and summary that change places, one reference taken where there are several, another text than the document
that copies are counted in."""

from __future__ import annotations

import math

import pytest

from manyheads.task.base import Scored
from manyheads.task.summarization import Summarization
from manyheads.testing import Rows, byte_tokenizer, scripted


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


SENTENCES = [
    {"document": "Dogs bark. Cats sleep a lot. It rains.", "summary": "cats sleep", "references": None},
    {"document": "", "summary": "nothing", "references": None},
    {"document": "One. Two.", "summary": "two", "references": ["two", "second"]},
]


def extracting(kind: str = "causal") -> Summarization:
    source = Rows(dict.fromkeys(("train", "validation", "test"), SENTENCES))
    source.ask(Summarization.fields)
    return Summarization(
        source=source, tokenizer=byte_tokenizer(), seed=1, kind=kind, prompt="{source}?", extractive=True
    )


def test_each_sentence_is_an_example_whose_answer_is_whether_it_is_the_nearest() -> None:
    task = extracting()
    (batch,) = task.test_dataloader()
    rows = sorted(zip(batch["examples"].tolist(), batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True))
    read = [bytes(token for token in ids if token < 256).decode() for _, ids, _ in rows]
    learned = [bytes(token for token in labels if 0 <= token < 256).decode() for _, _, labels in rows]
    assert learned == ["no", "yes", "no", "yes", "no", "yes"]
    asked = [
        "1/3: Dogs bark.?no",
        "2/3: Cats sleep a lot.?yes",
        "3/3: It rains.?no",
        "?yes",
        "1/2: One.?no",
        "2/2: Two.?yes",
    ]
    assert read == asked


def test_the_likeliest_sentence_is_copied_and_of_equals_the_first() -> None:
    task = extracting()
    assert task.joined("test", {0: 0.1, 1: 0.3, 2: 0.3, 3: 0.9, 4: 0.2, 5: 0.8}) == {
        0: "Cats sleep a lot.",
        1: "",
        2: "Two.",
    }
    scores = task.scores("test", {0: 0.1, 1: 0.3, 2: 0.3, 3: 0.9, 4: 0.2, 5: 0.8})
    assert scores["novel_bigrams"] == 0.0
    assert task.prompts(3) == []


def test_a_sentence_is_as_likely_as_its_yes_is_beside_its_no() -> None:
    """By hand: a network that writes y, e, s with 3/4 each where the text has a D, n, o with 1/2 each and the end for certain."""

    def rule(read: list[int]) -> list[float]:
        after = bytes(token for token in read if token < 256).decode().partition("?")[2]
        good = ord("D") in read
        shares = {"": {"y": 0.75 if good else 0.1, "n": 0.25 if good else 0.9}}.get(after, {})
        following = {"y": "e", "ye": "s", "n": "o"}.get(after)
        found = [1e-30] * 257
        for letter, share in shares.items():
            found[ord(letter)] = share
        if following:
            found[ord(following)] = 1.0
        elif after:
            found[256] = 1.0
        return [math.log(one) for one in found]

    task = extracting()
    network, head = scripted(rule, 257)
    (batch,) = task.test_dataloader()
    found = dict(zip(batch["examples"].tolist(), task.read(network, head, batch, network(batch)), strict=True))
    assert [found[number] for number in range(3)] == pytest.approx([0.75, 0.1, 0.1])
