"""Texts and references that a scorer may stumble over, and hundreds that chance makes up."""

import random
from collections.abc import Sequence

import pytest

PLAIN = "a an the The cat cats sat sitting on mat dogs ran running quickly 42 3.14 don't U.S. state-of-the-art"
STRANGE = "Straße ΑΘΗΝΑ naïve привет 你好 世界。 猫坐在垫子上 😀 ... , ! ? ( ) &amp; e\u0301 Ⅷ １２"
WORDS = f"{PLAIN} {STRANGE}".split()

AWKWARD: list[tuple[str, list[str]]] = [
    ("", ["the cat sat on the mat"]),
    ("the cat sat on the mat", [""]),
    ("", [""]),
    ("   ", [" \n "]),
    ("...", ["!?"]),
    ("?!", ["?!"]),
    ("the", ["a"]),
    ("cat", ["cat"]),
    ("cat", ["dog", "", "cat"]),
    ("猫坐在垫子上", ["猫在垫子上坐", "一只猫坐在垫子上。"]),
    ("ΑΘΗΝΑ Straße", ["αθηνα STRASSE"]),
    ("The cat sat.\nThe dog ran.", ["The dog ran.\nThe cat sat.", "The cat sat. The dog ran."]),
    ("\n\nthe cat\n", ["the\n\ncat"]),
    ("cat cat cat cat cat", ["cat sat"]),
    ("a b c d", ["a b x y z", "c d x y z"]),
]
"""(output, references): empty ones, punctuation only, one word, Chinese, lines, ties between references."""


def _text(chance: random.Random, longest: int) -> str:
    words = chance.choices(WORDS, k=chance.randint(0, longest))
    return "".join(word + chance.choice([" ", " ", " ", " ", "  ", "\n"]) for word in words).rstrip(" ")


def _changed(text: str, chance: random.Random) -> str:
    """The text with some words lost and some moved, so that long runs stay."""
    words = [word for word in text.split(" ") if chance.random() > 0.15]
    cut = chance.randint(0, len(words))
    return " ".join(words[cut:] + words[:cut] if chance.random() < 0.3 else words)


def made_up(count: int, seed: int) -> Sequence[tuple[str, list[str]]]:
    chance = random.Random(seed)
    cases = []
    for _ in range(count):
        references = [_text(chance, 14) for _ in range(chance.randint(1, 4))]
        output = _changed(chance.choice(references), chance) if chance.random() < 0.7 else _text(chance, 14)
        cases.append((output, references))
    return cases


@pytest.fixture(scope="session")
def text_cases() -> Sequence[tuple[str, list[str]]]:
    """(output, one to four references): the awkward ones, then 300 others."""
    return [*AWKWARD, *made_up(300, seed=7)]
