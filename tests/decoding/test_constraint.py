"""Guards tokens that come although they may not, and log-probabilities that a constraint changes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from manyheads.decoding.beam import beam_search
from manyheads.decoding.constraint import Constraint, Rules, repeating
from manyheads.decoding.generate import generate
from manyheads.errors import UserError
from manyheads.testing import scripted

V, END = 23, 0


@pytest.mark.parametrize(
    ("text", "n", "tokens"),
    [
        ([1, 2, 3, 1, 2], 3, {3}),
        ([1, 2, 3, 1, 2], 2, {3}),
        ([1, 2, 1, 3, 1], 2, {2, 3}),
        ([1, 2, 3], 1, {1, 2, 3}),
        ([1, 1, 1], 3, {1}),
        ([1, 1], 3, set()),
        ([1], 2, set()),
        ([], 1, set()),
        ([], 2, set()),
    ],
)
def test_what_would_come_twice_by_hand(text: list[int], n: int, tokens: set[int]) -> None:
    assert repeating(text, n) == tokens


def test_scores_of_what_may_come_stay() -> None:
    """Row by row: one has a repeated pair, the other has none."""
    scores = torch.arange(6.0).view(2, 3)
    found = Rules(no_repeat_ngram=2).apply(scores, [[1, 2], [0]], [[1], []])
    assert found.tolist() == [[0.0, 1.0, -math.inf], [3.0, 4.0, 5.0]]
    assert Rules().apply(scores, [[1, 2], [0]], [[1], []]) is scores


def test_no_pair_of_tokens_comes_twice_and_the_prompt_counts() -> None:
    """Logits fall from token 1 on. The end token in front is no part of the text, so that it may end it."""
    network, head = scripted(lambda read: [-50.0, 3.0, 2.0, 1.0], 4)
    [found] = beam_search(network, head, [[1, 1]], end_id=END, num_beams=1, max_new_tokens=6, no_repeat_ngram=2)
    assert found[0].tokens == [2, 1, 3, 1]  # then 1 1, 1 2 and 1 3 were there
    greedy = generate(network, head, [[1, 1]], end_id=END, max_new_tokens=6, no_repeat_ngram=2)
    assert greedy == [found[0].tokens]
    assert generate(network, head, [[2]], end_id=END, max_new_tokens=6, no_repeat_ngram=1) == [[1, 3]]


class Only(Constraint):
    """These texts, and nothing after them: not even the end."""

    name = "only=these"

    def __init__(self, *texts: list[int]) -> None:
        self.texts = texts

    def allowed(self, new: Any) -> torch.Tensor:
        mask = torch.zeros(V, dtype=torch.bool)
        mask[[text[len(new)] for text in self.texts if text[: len(new)] == list(new) and len(text) > len(new)]] = True
        return mask


def log_probability(prompt: list[int], text: list[int]) -> float:
    """The sum over a text after a prompt, where one token in five has logit 1 and the others 0."""
    total, read = 0.0, [END, *prompt]
    for token in text:
        favoured = [each for each in range(V) if each % 5 == sum(read) % 5]
        weights = [math.e if each in favoured else 1.0 for each in range(V)]
        total += math.log(weights[token] / sum(weights))
        read.append(token)
    return total


def test_a_constraint_keeps_tokens_out_and_leaves_the_scores_as_they_are() -> None:
    network, head = scripted(lambda read: [float(sum(read) % 5 == token % 5) for token in range(V)], V)
    texts = [[1, 2, END], [1, 3, END], [5, END], [6, 6, 6, 6]]
    settings: dict[str, Any] = {"end_id": END, "max_new_tokens": 9, "num_beams": 5}
    [found] = beam_search(network, head, [[4]], num_return=5, allowed=Only(*texts), length_penalty=0.0, **settings)
    scores = {tuple(text[:-1]): log_probability([4], text) for text in texts[:3]}
    assert {tuple(each.tokens): each.score for each in found} == pytest.approx(scores, rel=1e-5)
    with pytest.raises(UserError, match="only=these: after 4 tokens of a text, no token of the tokenizer may follow"):
        beam_search(network, head, [[4]], allowed=Only([6, 6, 6, 6]), **settings)
    with pytest.raises(UserError, match="only=these with no_repeat_ngram=1: after 1 tokens of a text"):
        generate(network, head, [[4]], end_id=END, max_new_tokens=9, no_repeat_ngram=1, allowed=Only([6, 6]))
