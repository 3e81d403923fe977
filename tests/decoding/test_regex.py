"""Guards expressions against tokens that lead nowhere and tokens that are kept out for nothing."""

from __future__ import annotations

import importlib.util
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from manyheads.decoding.beam import beam_search
from manyheads.decoding.generate import generate
from manyheads.decoding.regex import Regex
from manyheads.decoding.sampling import Sampling
from manyheads.errors import UserError
from manyheads.testing import Rows, byte_tokenizer, tiny_network
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.character import character
from manyheads.tokenizer.pieces import first_and_later
from manyheads.tokenizer.unigram import unigram
from manyheads.tokenizer.wordpiece import wordpiece

pytest.importorskip("llguidance")

TOKENIZER = byte_tokenizer()
END, V = TOKENIZER.end_id, TOKENIZER.vocab_size
WORDS = [a + b + c for a in ("low", "new", "wide", "the") for b in ("er", "est", "") for c in ("ing", "s", "")]
TEXTS = ["the cat and the dog, the hat éa", "ab abc the end", *(f"{word} a{word}, {word}s" for word in WORDS)]
SOURCE = Rows({"train": TEXTS, "validation": [""], "test": [""]})
KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte": byte_tokenizer,
    "bpe": lambda: bpe(source=SOURCE, vocab_size=280),
    "character": lambda: character(source=SOURCE),
    "unigram": lambda: unigram(source=SOURCE, vocab_size=45),
    "wordpiece": lambda: wordpiece(source=SOURCE, vocab_size=50),  # its words have a space in front, but for the first
}
FINITE = {
    r"ab?c{0,2}": ["a", "ab", "ac", "abc", "acc", "abcc"],
    r"(the cat|the dog|then) ?": ["the cat", "the dog", "then", "the cat ", "the dog ", "then "],
    r"a[éè🙂]|🙃": ["aé", "aè", "a🙂", "🙃"],
    r"a/\.\nb": ["a/.\nb"],
    r"(?i)ab": ["ab", "Ab", "aB", "AB"],
}
"""Expressions and all that they match."""


@pytest.mark.parametrize("pattern", FINITE)
@pytest.mark.parametrize("kind", KINDS)
def test_allowed_is_what_begins_a_text_that_matches(kind: str, pattern: str) -> None:
    """Along random ways until the end, against the list of all texts in bytes. Dead ends are left out: what they lead
    to cannot be spelled in this vocabulary."""
    tokenizer = KINDS[kind]()
    first, later = first_and_later(tokenizer)
    texts = [text.encode() for text in FINITE[pattern]]
    assert all(re.fullmatch(pattern, text) for text in FINITE[pattern])
    constraint = Regex(tokenizer, pattern)
    dice, ends = random.Random(0), set()
    for _ in range(20):
        new: list[int] = []
        written = b""
        while tokenizer.end_id not in new:
            pieces = later if new else first
            wanted = {t for t, p in enumerate(pieces) if p and any(text.startswith(written + p) for text in texts)}
            wanted |= {tokenizer.end_id} if written in texts else set()
            assert set(constraint.allowed(new).nonzero()[:, 0].tolist()) == wanted, (new, written)
            if not wanted:
                break
            new.append(dice.choice(sorted(wanted)))
            written += pieces[new[-1]]
        ends.add(written)
    assert len(ends) > (len(texts) > 1) or kind in ("unigram", "wordpiece")


PATTERN = r"[0-9]{1,3}( [α-ω]+)?(, 🙂|;)"


@pytest.mark.parametrize("way", ["greedy", "drawn", "beams"])
def test_every_text_matches(way: str) -> None:
    """The network's bytes are at random, so that half characters which lead nowhere would be drawn."""
    network, head = tiny_network(V)
    settings: dict[str, Any] = {"end_id": END, "max_new_tokens": 60, "allowed": Regex(TOKENIZER, PATTERN)}
    prompts = [[n] for n in range(12)]
    if way == "beams":
        rows = [
            each.tokens
            for row in beam_search(network, head, prompts, num_beams=3, num_return=3, **settings)
            for each in row
        ]
    else:
        rows = generate(network, head, prompts, sampling=Sampling(greedy=way == "greedy"), **settings)
    texts = [TOKENIZER.decode(row) for row in rows if len(row) < 60]
    assert len(set(texts)) > 3
    assert all(re.fullmatch(PATTERN, text) for text in texts)


def test_a_text_that_cannot_be_spelled_stops_with_a_word() -> None:
    """Without a token for z, "ab" leads nowhere."""
    tokenizer = unigram(source=SOURCE, vocab_size=45)
    constraint = Regex(tokenizer, "abz")
    for _ in range(2):  # a dead end must not stay
        assert not constraint.allowed(tokenizer.encode("ab")).any()
        assert constraint.allowed([]).any()
    with pytest.raises(UserError, match=r"regex=abz: after \d tokens of a text, no token of the tokenizer may follow"):
        generate(
            *tiny_network(tokenizer.vocab_size), [[1]], end_id=tokenizer.end_id, max_new_tokens=9, allowed=constraint
        )


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(a", "regex=(a cannot be used: unclosed group."),
        ("[", "regex=[ cannot be used: unclosed character class."),
        (r"(a)\1", r"regex=(a)\1 cannot be used: backreferences are not supported."),
        ("(?=a)a", "regex=(?=a)a cannot be used: look-around, including look-ahead and look-behind, is not supported."),
        (r"a\b", r"regex=a\b cannot be used: lookarounds not supported yet; WordUnicode in regex /a\b/."),
        ("", "regex=: set a regular expression, in quotes."),
        (5, "regex=5: set a regular expression, in quotes."),
    ],
)
def test_an_expression_that_cannot_be_read_is_named(pattern: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Regex(TOKENIZER, pattern)
    assert str(caught.value) == message


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llguidance" else found(name))
    with pytest.raises(
        UserError, match="regex=a needs the package llguidance, which is not installed: pip install llg"
    ):
        Regex(TOKENIZER, "a")
