"""Interpolated modified Kneser-Ney against its definition, n-gram by n-gram with dictionaries."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from manyheads.model.gram_counts import Packing, added_up
from manyheads.model.kneser_ney import FALLBACK, KneserNey, discounts

Gram = tuple[int, ...]


class Reference:
    """The definition: Chen and Goodman 1998, sections 2.7 and 4.1.6; n-grams of a text's beginning with their own counts."""

    def __init__(self, texts: list[list[int]], order: int, vocab_size: int) -> None:
        self.order, self.vocab_size = order, vocab_size
        seen: Counter[Gram] = Counter()
        for text in texts:
            for end in range(1, len(text)):
                seen[tuple(text[max(0, end - order + 1) : end + 1])] += 1
        self.counts: list[Counter[Gram]] = [Counter() for _ in range(order + 1)]
        for length in range(order, 0, -1):
            for gram in self.counts[length + 1] if length < order else ():
                self.counts[length][gram[1:]] += 1  # a token that it was seen after
            for gram, count in seen.items():
                if len(gram) == length:
                    self.counts[length][gram] += count
        self.discounts = [(0.0, 0.0, 0.0)] + [self._discounts(counts) for counts in self.counts[1:]]
        self.after: list[dict[Gram, Counter[int]]] = [defaultdict(Counter) for _ in range(order + 1)]
        for length in range(1, order + 1):
            for gram, count in self.counts[length].items():
                self.after[length][gram[:-1]][gram[-1]] = count

    @staticmethod
    def _discounts(counts: Counter[Gram]) -> tuple[float, float, float]:
        n = [sum(count == k for count in counts.values()) for k in range(5)]
        if not all(n[1:4]):
            return FALLBACK
        n4 = sum(count == 4 for count in counts.values())
        if not n4:
            return FALLBACK
        y = n[1] / (n[1] + 2 * n[2])
        found = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n4 / n[3])
        return found if all(0 <= d <= k for k, d in enumerate(found, 1)) else FALLBACK

    def probability(self, history: Gram, token: int) -> float:
        """P(token | all of history), of which the last order - 1 tokens count."""
        lower = 1 / self.vocab_size
        for length in range(1, self.order + 1):
            if length - 1 > len(history):
                break
            followers = self.after[length].get(history[len(history) - length + 1 :])
            if not followers:
                continue
            by = self.discounts[length]
            total = sum(followers.values())
            taken = sum(by[min(count, 3) - 1] for count in followers.values())
            count = followers[token]
            lower = (count - by[min(count, 3) - 1] if count else 0.0) / total + taken / total * lower
        return lower


def texts(vocab_size: int, seed: int, count: int = 40) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [(random.integers(0, vocab_size, random.integers(1, 14)) ** 2 // vocab_size).tolist() for _ in range(count)]


def counted(found: list[list[int]], order: int, vocab_size: int) -> KneserNey:
    rows = [
        [0] * (order - len(part)) + [token + 1 for token in part]
        for text in found
        for end in range(1, len(text))
        for part in [text[max(0, end - order + 1) : end + 1]]
    ]
    columns = list(np.array(rows, dtype=np.int64).reshape(-1, order).T)
    keys, counts = added_up(Packing(order, vocab_size).pack(columns), np.ones(len(rows), np.int64))
    return KneserNey(order, vocab_size, keys, counts, torch.device("cpu"))


def shares(model: KneserNey, text: list[int], order: int) -> torch.Tensor:
    """[T, V], what may follow each token of a text."""
    contexts = model.contexts(torch.tensor([text]))[0]
    inside = torch.arange(len(text))[:, None] >= torch.arange(order - 1)
    return model.log_probabilities(torch.where(inside, contexts, -1)).double().exp()


@pytest.mark.parametrize(("order", "vocab_size"), list(itertools.product([1, 2, 3, 5, 9], [2, 5, 12])))
def test_probabilities_are_those_of_the_definition(order: int, vocab_size: int) -> None:
    train = texts(vocab_size, seed=order)
    model, reference = counted(train, order, vocab_size), Reference(train, order, vocab_size)
    assert np.allclose(model.discounts, reference.discounts[1:])
    for text in [*train[:5], *texts(vocab_size, seed=99, count=5)]:
        found = shares(model, text, order)
        for end in range(len(text)):
            history = tuple(text[max(0, end - order + 2) : end + 1]) if order > 1 else ()
            expected = [reference.probability(history, token) for token in range(vocab_size)]
            assert found[end].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("order", [1, 2, 4, 7])
def test_probabilities_sum_to_one(order: int) -> None:
    model = counted(texts(9, seed=3), order, 9)
    for text in texts(9, seed=4, count=10):
        assert shares(model, text, order).sum(-1).tolist() == pytest.approx([1.0] * len(text), abs=1e-6)


def test_a_share_by_hand() -> None:
    """Counts too few for discounts of their own: 0.5, 1 and 1.5 are taken."""
    model = counted([[0, 1, 2], [0, 1, 1]], order=2, vocab_size=4)
    # after 0: 1 twice; after 1: 1 and 2 once each. Single tokens: 1 follows 0 and 1, 2 follows 1
    single = {1: (2 - 1) / 3, 2: (1 - 0.5) / 3}
    rest = (1 + 0.5) / 3 / 4
    after_one = [0.5 * rest, 0.25 + 0.5 * (single[1] + rest), 0.25 + 0.5 * (single[2] + rest), 0.5 * rest]
    assert model.discounts == [FALLBACK, FALLBACK]
    assert shares(model, [1], 2)[0].tolist() == pytest.approx(
        [0.5 * rest, 0.5 * (single[1] + rest) + 0.25 + 0.0, 0.25 + 0.5 * (single[2] + rest), 0.5 * rest]
    )
    assert after_one == pytest.approx(shares(model, [1], 2)[0].tolist())
    # nothing was seen after 3: what is known of single tokens
    assert shares(model, [3], 2)[0].tolist() == pytest.approx([rest, single[1] + rest, single[2] + rest, rest])


def test_discounts_by_hand() -> None:
    counts = np.array([1] * 10 + [2] * 4 + [3] * 2 + [4] + [9])
    y = 10 / 18
    assert discounts(counts) == pytest.approx((1 - 2 * y * 4 / 10, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2))
    assert discounts(np.array([1, 1, 2])) == FALLBACK
    assert discounts(np.zeros(0, np.int64)) == FALLBACK


def test_of_nothing_every_token_is_as_likely() -> None:
    model = KneserNey(3, 5, np.zeros((0, 1), np.int64), np.zeros(0, np.int64), torch.device("cpu"))
    assert shares(model, [1, 2, 3], 3).tolist() == pytest.approx(np.full((3, 5), 0.2))
    assert model.num_parameters == 1
