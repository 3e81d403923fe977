"""Guards spans in the place of another mask, sentinels in what a user reads, and texts that are cut in silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from manyheads.errors import UserError
from manyheads.task.denoising import Denoising
from manyheads.testing import Rows, byte_tokenizer, scripted

END, SPAN = 256, 257
"""The byte tokenizer's end, and the first sentinel or BART's mask."""


def answers(*texts: str, written: Sequence[int], **settings: Any) -> tuple[list[Any], list[list[int]]]:
    """The lines for some texts of a network that writes this and the end after whatever it has read, and what it read."""
    splits = {"train": ["abc"], "validation": ["abc"], "test": list(texts)}
    task = Denoising(
        source=Rows(splits), tokenizer=byte_tokenizer(), seed=1, kind="causal", **{"seq_len": 16} | settings
    )
    asked: dict[tuple[int, ...], None] = {}

    def says(read: list[int]) -> int:
        start = read.index(END, 1) + 1  # the text stands between two end tokens
        if read[start - 1 :] == [END]:
            asked[tuple(read)] = None
        return [*written, END][min(len(read) - start, len(written))] if len(read) >= start else END

    def rule(read: list[int]) -> int:
        return says(read) if END in read[1:] else END

    network, head = scripted(rule, task.tokenizer.vocab_size)
    return list(task.answers(network, head)), [list(read) for read in asked]


def test_spans_come_into_the_place_of_their_masks() -> None:
    """By hand: the second sentinel is written first, and what stands before any sentinel belongs nowhere."""
    written = [*b"no", SPAN + 1, *b"YZ", SPAN, *b"X", SPAN + 2]
    (line, other), read = answers("a<|mask|>b<|mask|>", "<|mask|>c", written=written)
    assert [*read[0]] == [END, ord("a"), SPAN, ord("b"), SPAN + 1, END]
    assert (line["id"], line["input"], line["output"]) == (0, "a<|mask|>b<|mask|>", "aXbYZ")
    assert (other["id"], other["output"]) == (1, "Xc")


def test_a_span_that_is_not_written_is_left_out_and_the_first_of_two_counts() -> None:
    (line,), _ = answers("a<|mask|>b<|mask|>c", written=[SPAN, *b"1", SPAN, *b"2"])
    assert line["output"] == "a1bc"


def test_bart_writes_the_whole_text() -> None:
    (line,), read = answers("a<|mask|>b", written=[*b"anew"], objective="bart")
    assert read == [[END, ord("a"), SPAN, ord("b"), END]]
    assert line["output"] == "anew"


def test_as_many_texts_as_there_are_whatever_the_batch() -> None:
    texts = [f"{letter}<|mask|>" for letter in "abcdefg"]
    lines, _ = answers(*texts, written=[SPAN, *b"!"], eval_batch_size=3)
    assert [(line["id"], line["output"]) for line in lines] == [(i, f"{c}!") for i, c in enumerate("abcdefg")]


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        ("plain", {}, "row 0 has no mask to be filled. Write <|mask|> into text where a token is to be told."),
        (
            "a" * 20 + "<|mask|>", {},
            "row 0 has 21 tokens, and this network learned rows of task.seq_len=16. Give it in parts.",
        ),
        (
            "<|mask|>a<|mask|>b<|mask|>", {"sentinels": 3, "mean_span": 1.0},
            "row 0 has 3 masks, and this network learned 2 at most. Give it in parts.",
        ),
    ],
)  # fmt: skip
def test_what_a_user_is_told(text: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        answers(text, written=[], **settings)
    assert str(caught.value) == told
