"""Guards an answer that is one of the question's own words."""

from __future__ import annotations

import math

import pytest
import torch

from manyheads.metric.analogies import Analogies, answered

WORDS = ["man", "woman", "king", "queen", "girl", "unknown"]
VECTORS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0.9, 0.1], [0, 1, 1]])
"""Along the axes man, woman and crown."""


def solve(*words: str) -> str:
    ids = torch.tensor([[WORDS.index(word) for word in words]])
    return WORDS[int(answered(VECTORS, ids, torch.arange(5))[0])]


def test_by_hand() -> None:
    """woman - man + king, each of length 1: (0, 1, 0) - (1, 0, 0) + (0.71, 0, 0.71) = (-0.29, 1, 0.71), nearest to queen; and
    queen - king + man is nearest to woman."""
    assert solve("man", "woman", "king") == "queen"
    assert solve("king", "queen", "man") == "woman"


def test_the_words_of_a_question_are_no_answers() -> None:
    """king - man + woman is nearest to queen; with a = b the sum is c itself, which is left out: girl is next to woman."""
    assert solve("man", "king", "woman") == "queen"
    assert solve("man", "man", "woman") == "girl"


def test_lengths_count_for_nothing() -> None:
    longer = VECTORS * torch.tensor([[5.0], [0.1], [3.0], [7.0], [2.0], [1.0]])
    questions = torch.tensor([[0, 1, 2], [2, 3, 0]])
    assert torch.equal(answered(longer, questions, torch.arange(5)), answered(VECTORS, questions, torch.arange(5)))


def test_the_share_of_right_answers() -> None:
    assert Analogies().score([3, 1, 2, 2], [3, 0, 2, 1]) == 0.5
    assert math.isnan(Analogies().score([], []))
    assert len(answered(VECTORS, torch.empty(0, 3, dtype=torch.int64), torch.arange(5))) == 0


def test_random_questions_against_a_loop() -> None:
    torch.manual_seed(0)
    vectors, questions = torch.randn(30, 6).double(), torch.randint(30, (40, 3))
    found = answered(vectors, questions, torch.arange(30))
    units = vectors / vectors.norm(dim=1, keepdim=True)
    for (a, b, c), answer in zip(questions.tolist(), found.tolist(), strict=True):
        wanted = units[b] - units[a] + units[c]
        cosines = [float(units[d] @ wanted) if d not in (a, b, c) else -math.inf for d in range(30)]
        assert cosines[answer] == pytest.approx(max(cosines))
