"""Guards answers whose characters are not those of the context, windows that lose tokens, and a search that misses the best."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from manyheads.task.spans import NOWHERE, best_spans, folded, in_window, located, tokens_of, windows
from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.character import character
from manyheads.tokenizer.unigram import unigram
from manyheads.tokenizer.wordpiece import wordpiece

CONTEXT = "Zoë’s café in 東京  is\n\nnaïve — 😀 ok. The cat sat on the mat, the cat on the mat sat."
ANSWERS = ["Zoë’s café", "東京", "naïve", "😀", "😀 ok", "cat sat on", "sat.", "Zoë", "é in 東", CONTEXT]


def source() -> Rows:
    return Rows({"train": [CONTEXT] * 3, "validation": [CONTEXT], "test": [CONTEXT]})


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "byte": byte_tokenizer,
    "bpe": lambda: bpe(source=source(), vocab_size=275),
    "character": lambda: character(source=source()),
    "wordpiece": lambda: wordpiece(source=source(), vocab_size=62),
    "unigram": lambda: unigram(source=source(), vocab_size=34),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_tokens_of_an_answer_are_its_characters(name: str, answer: str) -> None:
    """The text from the first token's first character to the last token's last is the answer, but for the rest of a token
    that it begins or ends in. Counted in bytes, everything behind "ë" would be off."""
    start = CONTEXT.index(answer)
    (tokens,) = tokens_of(TOKENIZERS[name](), [CONTEXT])
    span = tokens.span(start, start + len(answer))
    assert span is not None
    first, last = span
    assert tokens.starts[first] <= start < tokens.ends[first]
    assert tokens.starts[last] < start + len(answer) <= tokens.ends[last]
    found = CONTEXT[tokens.starts[first] : tokens.ends[last]]
    assert answer in found
    whole_tokens = {"byte", "character"}
    assert found == answer or name not in whole_tokens


@pytest.mark.parametrize("name", ["byte", "bpe"])
def test_tokens_of_one_character_all_have_its_place(name: str) -> None:
    """A span takes all of its tokens."""
    (tokens,) = tokens_of(TOKENIZERS[name](), ["a😀b"])
    assert tokens.starts.tolist() == [0, 1, 1, 1, 1, 2]
    assert tokens.ends.tolist() == [1, 2, 2, 2, 2, 3]
    assert tokens.span(1, 2) == (1, 4)
    assert tokens.span(0, 3) == (0, 5)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_ids_are_those_of_encode(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    assert [one.ids for one in tokens_of(tokenizer, [CONTEXT, "", CONTEXT])] == tokenizer.encode_batch(
        [CONTEXT, "", CONTEXT]
    )


def test_white_space_that_a_tokenizer_drops_has_no_tokens() -> None:
    (tokens,) = tokens_of(TOKENIZERS["wordpiece"](), ["the  cat"])
    assert tokens.span(3, 5) is None
    assert tokens.span(3, 6) == (1, 1)


@pytest.mark.parametrize(
    ("start", "place"), [(4, 4), (0, 4), (5, 4), (7, 4), (13, 16), (16, 16), (17, 16), (40, 16), (10, 4)]
)
def test_an_answer_is_looked_for_at_its_place_and_then_nearby(start: int, place: int) -> None:
    assert located("the cat and the cat", "cat", start) == place


def test_an_answer_that_is_not_there_is_nowhere() -> None:
    assert located("the cat", "dog", 4) is None


@pytest.mark.parametrize(
    ("length", "room", "stride", "expected"),
    [
        (0, 4, 2, [(0, 0)]),
        (4, 4, 2, [(0, 4)]),
        (5, 4, 2, [(0, 4), (2, 5)]),
        (6, 4, 2, [(0, 4), (2, 6)]),
        (7, 4, 2, [(0, 4), (2, 6), (4, 7)]),
        (7, 4, 4, [(0, 4), (4, 7)]),
        (7, 3, 100, [(0, 3), (3, 6), (6, 7)]),
        (3, 1, 1, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_windows_by_hand(length: int, room: int, stride: int, expected: list[tuple[int, int]]) -> None:
    assert [(window.start, window.stop) for window in windows(length, room, stride)] == expected


def test_a_window_has_a_span_only_whole() -> None:
    assert in_window((4, 6), range(2, 7), 10) == (12, 14)
    assert in_window((4, 6), range(4, 9), 10) == (10, 12)
    assert in_window((4, 6), range(5, 9), 10) == in_window((4, 6), range(0, 6), 10) == NOWHERE
    assert in_window(None, range(0, 6), 10) == NOWHERE


@pytest.mark.parametrize("longest", [1, 2, 5, 100])
def test_the_best_span_is_that_of_a_search_by_hand(longest: int) -> None:
    """Every pair of a start and an end that is not before it, not too long, and within the context."""
    generator = torch.Generator().manual_seed(longest)
    starts, ends = torch.randn(2, 40, 12, generator=generator, dtype=torch.float64)
    inside = torch.zeros(40, 12, dtype=torch.bool)
    for row in range(40):
        inside[row, 3 : 3 + row % 9] = True
    best = best_spans(starts, ends, inside, longest)
    for row in range(40):
        pairs = [
            (float(starts[row, i] + ends[row, j]), i, j)
            for i in range(12)
            for j in range(i, min(i + longest, 12))
            if inside[row, i] and inside[row, j]
        ]
        if pairs:
            assert (float(best.scores[row]), int(best.firsts[row]), int(best.lasts[row])) == max(pairs)
        else:
            assert best.scores[row] == float("-inf")


def test_tokens_of_one_text_but_for_case_and_white_space_fold_together() -> None:
    """And bytes that are no whole character stay apart, though they all decode to U+FFFD."""
    folds = folded(byte_tokenizer())
    assert folds[ord("a")] == folds[ord("A")] != folds[ord("b")]
    assert folds[ord(" ")] == folds[ord("\n")]
    assert folds[0xE6] != folds[0x9D]
