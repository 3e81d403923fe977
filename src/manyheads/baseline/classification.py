"""Baselines of classification: the shares of the classes, and naive Bayes on words or characters and pairs of them.

    N  rows        C  classes        F  features

A target is the number of a class, or, where a row can have several, C zeros and ones; an output is C probabilities.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyheads.baseline.base import Baseline

MOST_CELLS = 50_000_000
"""Features times classes that are counted; of more features, the most frequent are. 400 MB."""

Features = Callable[[str], Iterable[str]]
Floats = NDArray[np.float64]

_WORD = re.compile(r"\w+|[^\w\s]")


def classifiers(num_classes: int, *, several: bool) -> Mapping[str, Baseline]:
    """The baselines of a task with so many classes, of which a row has one, or any number."""
    settings = {"num_classes": num_classes, "several": several}
    return {
        "majority": functools.partial(Majority, **settings),
        "naive_bayes_words": functools.partial(NaiveBayes, **settings, features=word_pairs),
        "naive_bayes_characters": functools.partial(NaiveBayes, **settings, features=character_pairs),
    }


class Majority:
    """The shares of the classes in train, for every row: it always says the most frequent one."""

    def __init__(self, inputs: Sequence[Any], targets: Sequence[Any], *, num_classes: int, several: bool) -> None:
        self.shares = _one_hot(targets, num_classes, several).mean(0)  # [C]

    def __call__(self, inputs: Sequence[Any]) -> list[list[float]]:
        return [self.shares.tolist() for _ in inputs]


class NaiveBayes:
    """Multinomial naive Bayes with add-one smoothing, and the shares of the classes in train as the prior.

    Where a row can have several classes, each is a question of its own: this class or not. A feature that train does not
    have says nothing. An input is a text or several; the features of several are put together.

    Source: McCallum and Nigam, "A comparison of event models for naive Bayes text classification", 1998, equations 5
    and 6; scikit-learn's `MultinomialNB(alpha=1)`.

    Args:
        features: the features of a text, as often as they are in it.
    """

    def __init__(
        self, inputs: Sequence[Any], targets: Sequence[Any], *, num_classes: int, several: bool, features: Features
    ) -> None:
        self.features = features
        self.several = several
        true = _one_hot(targets, num_classes, several)  # [N, C]
        counts = Counter(feature for given in inputs for feature in self._features(given))
        most = counts.most_common(max(1, MOST_CELLS // num_classes))
        self._index = {feature: number for number, (feature, _) in enumerate(most)}
        inside = _counts(map(self._numbers, inputs), true, len(self._index))  # [F, C]
        self.prior, self.table = _log(true.mean(0)), _smoothed(inside)
        if several:  # the log odds of each class
            totals = np.array([[count] for _, count in most]).reshape(-1, 1)
            self.prior = self.prior - _log(1 - true.mean(0))
            self.table = self.table - _smoothed(totals - inside)

    def __call__(self, inputs: Sequence[Any]) -> list[list[float]]:
        if not inputs:
            return []
        scores = np.stack([self.prior + self.table[self._numbers(given)].sum(0) for given in inputs])  # [N, C]
        if self.several:
            return (1 / (1 + np.exp(-scores.clip(-700, 700)))).tolist()
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        return (odds / odds.sum(-1, keepdims=True)).tolist()

    def _features(self, given: Any) -> Iterable[str]:
        texts = [given] if isinstance(given, str) or given is None else given
        return itertools.chain.from_iterable(self.features(text or "") for text in texts)

    def _numbers(self, given: Any) -> NDArray[np.int64]:
        found = (self._index.get(feature, -1) for feature in self._features(given))
        return np.array([number for number in found if number >= 0], np.int64)


def word_pairs(text: str) -> list[str]:
    """The words and punctuation marks of a text, lowered, and the pairs of them that stand together."""
    words = _WORD.findall(text.lower())
    return [*words, *(f"{one} {other}" for one, other in itertools.pairwise(words))]


def character_pairs(text: str) -> list[str]:
    """The characters of a text, lowered, and the pairs of them that stand together."""
    text = text.lower()
    return [*text, *map("".join, itertools.pairwise(text))]


def _one_hot(targets: Sequence[Any], num_classes: int, several: bool) -> Floats:
    """[N, C] 0 or 1."""
    if several:
        return np.asarray(targets, np.float64).reshape(-1, num_classes)
    return np.eye(num_classes)[np.asarray(targets, np.int64)]


def _counts(rows: Iterable[NDArray[np.int64]], true: Floats, num_features: int) -> Floats:
    """[F, C] how often each feature is in the rows of each class."""
    found = list(rows)
    lengths, features = [len(row) for row in found], np.concatenate([*found, np.empty(0, np.int64)])
    made = np.empty((num_features, true.shape[1]))
    for number in range(true.shape[1]):
        made[:, number] = np.bincount(features, np.repeat(true[:, number], lengths), minlength=num_features)
    return made


def _smoothed(counts: Floats) -> Floats:
    """[F, C] the log of each feature's share in each class, with one added to each count."""
    return np.log((counts + 1) / (counts.sum(0) + len(counts)))


def _log(shares: Floats) -> Floats:
    with np.errstate(divide="ignore"):  # a class that train does not have is never said
        return np.log(shares)
