"""The n-gram that a trained network has to beat: interpolated modified Kneser-Ney over the same tokens and split.

    python -m benchmarks.kneser_ney outputs/runs/RUN [ORDER]

Source: Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998, section 3 (modified
Kneser-Ney, equations 26 and 27): absolute discounts D1, D2, D3+ per order from counts of counts, lower orders over the
number of distinct left neighbours, and a uniform distribution below the unigram.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

Gram = tuple[int, ...]


class KneserNey:
    """P(token | the order - 1 tokens before it)."""

    def __init__(self, order: int, vocab_size: int) -> None:
        self.order = order
        self.vocab_size = vocab_size
        self.counts: list[Counter[Gram]] = []
        self.totals: list[dict[Gram, int]] = []
        self.weights: list[dict[Gram, float]] = []
        self.discounts: list[tuple[float, float, float]] = []

    def fit(self, documents: Iterable[Sequence[int]], end: int) -> KneserNey:
        """Counts documents, each with END around it."""
        highest: Counter[Gram] = Counter()
        for document in documents:
            padded = [end] * (self.order - 1) + list(document) + [end]
            highest.update(zip(*(padded[i:] for i in range(self.order)), strict=False))
        by_order = [highest]
        for _ in range(self.order - 1):
            by_order.append(Counter(gram[1:] for gram in by_order[-1]))
        self.counts = by_order[::-1]  # counts[k] has the grams of k + 1 tokens
        for counts in self.counts:
            self._smooth(counts)
        return self

    def _smooth(self, counts: Counter[Gram]) -> None:
        n1, n2, n3, n4 = (sum(c == k for c in counts.values()) for k in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        d = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        totals: dict[Gram, int] = defaultdict(int)
        kinds: dict[Gram, list[int]] = defaultdict(lambda: [0, 0, 0])
        for gram, count in counts.items():
            totals[gram[:-1]] += count
            kinds[gram[:-1]][min(count, 3) - 1] += 1
        self.discounts.append(d)
        self.totals.append(totals)
        self.weights.append(
            {h: sum(n * x for n, x in zip(kinds[h], d, strict=True)) / total for h, total in totals.items()}
        )

    def probability(self, history: Gram, token: int) -> float:
        """P(token | history); history has order - 1 tokens."""
        p = 1 / self.vocab_size
        for k in range(self.order):
            h = history[len(history) - k :]
            total = self.totals[k].get(h)
            if total is None:
                break
            count = self.counts[k].get((*h, token), 0)
            discounted = count - self.discounts[k][min(count, 3) - 1] if count else 0.0
            p = discounted / total + self.weights[k][h] * p
        return p

    def nats(self, document: Sequence[int], end: int) -> float:
        """The document's cost, its end included."""
        padded = [end] * (self.order - 1) + list(document) + [end]
        n = self.order - 1
        return -sum(math.log(self.probability(tuple(padded[i - n : i]), padded[i])) for i in range(n, len(padded)))


def main(folder: str, order: int = 5) -> float:
    """Prints and returns the test split's bits per byte under the n-gram, with the run's own tokenizer and data."""
    import manyheads
    from manyheads.build import build

    lm = manyheads.load(folder)
    source = build(lm.config.data, "data")

    def documents(split: str) -> Iterable[list[int]]:
        return (ids for texts in source.texts(split) for ids in lm.tokenizer.encode_batch([t for t in texts if t]))

    model = KneserNey(order, lm.tokenizer.vocab_size).fit(documents("train"), lm.tokenizer.end_id)
    nats = sum(model.nats(ids, lm.tokenizer.end_id) for ids in documents("test"))
    num_bytes = sum(len(text.encode()) for texts in source.texts("test") for text in texts)
    bits = nats / math.log(2) / num_bytes
    print(
        f"Kneser-Ney, order {order}, vocabulary {lm.tokenizer.vocab_size}: {bits:.4f} bits per byte over {num_bytes} bytes"
    )
    return bits


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))
