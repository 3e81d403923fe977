"""Guards probabilities that are not those of scikit-learn's naive Bayes, and features across two texts of a pair."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from manyheads.baseline import classification
from manyheads.baseline.classification import Majority, NaiveBayes, character_pairs, classifiers, word_pairs

WORDS = ["the", "film", "was", "good", "bad", "dull", "bright", "and", "not", "so", "very"]


def texts(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(0, 8))) for _ in range(count)]


@pytest.mark.parametrize("features", [word_pairs, character_pairs])
def test_probabilities_are_scikit_learns(features: Callable[[str], list[str]]) -> None:
    """On texts that train has words of, and one that it has none of; one class is three times as frequent."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    train, targets = texts(1, 60), [(0, 1, 2, 2, 2)[i % 5] for i in range(60)]
    test = [*texts(2, 10), "ünseen"]
    vectorizer = CountVectorizer(analyzer=features)
    theirs = MultinomialNB(alpha=1).fit(vectorizer.fit_transform(train), targets)
    ours = NaiveBayes(train, targets, num_classes=3, several=False, features=features)(test)
    np.testing.assert_allclose(ours, theirs.predict_proba(vectorizer.transform(test)), rtol=1e-9)


def test_each_of_several_labels_is_a_question_of_its_own() -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    draw = random.Random(3)
    train, test = texts(1, 40), texts(2, 6)
    targets = [[draw.randint(0, 1), draw.randint(0, 1)] for _ in train]
    vectorizer = CountVectorizer(analyzer=word_pairs)
    counts, asked = vectorizer.fit_transform(train), vectorizer.transform(test)
    theirs = [MultinomialNB(alpha=1).fit(counts, [t[i] for t in targets]).predict_proba(asked)[:, 1] for i in (0, 1)]
    ours = NaiveBayes(train, targets, num_classes=2, several=True, features=word_pairs)(test)
    np.testing.assert_allclose(ours, np.stack(theirs, -1), rtol=1e-9)


def test_only_the_most_frequent_features_are_counted_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification, "MOST_CELLS", 4)
    made = NaiveBayes(["a a b", "b a c"], [0, 1], num_classes=2, several=False, features=str.split)
    assert made.table.shape == (2, 2)
    assert made(["c"]) == [[0.5, 0.5]]


def test_majority_says_the_shares_of_train() -> None:
    made = Majority(["x"] * 4, [1, 1, 0, 1], num_classes=3, several=False)
    assert made(["a", "b"]) == [[0.25, 0.75, 0.0]] * 2
    assert Majority(["x"] * 2, [[1, 0], [1, 1]], num_classes=2, several=True)(["a"]) == [[1.0, 0.5]]


def test_a_class_without_a_row_is_never_said() -> None:
    made = NaiveBayes(["a", "b"], [0, 1], num_classes=3, several=False, features=str.split)
    assert made(["a"])[0][2] == 0.0


def test_features_by_hand() -> None:
    assert word_pairs("Not so, Good") == ["not", "so", ",", "good", "not so", "so ,", ", good"]
    assert character_pairs("Abc") == ["a", "b", "c", "ab", "bc"]


def test_the_texts_of_a_pair_share_no_pair_of_words() -> None:
    made = NaiveBayes([["a b", "c"], ["c", None]], [0, 1], num_classes=2, several=False, features=word_pairs)
    assert sorted(made._index) == ["a", "a b", "b", "c"]


def test_the_baselines_of_a_task() -> None:
    """After "x" and "y y", of "y": 1/2 to 1/4 among the words and their pair, 3/10 to 1/6 among the characters."""
    made: dict[str, Any] = {**classifiers(2, several=False)}
    assert list(made) == ["majority", "naive_bayes_words", "naive_bayes_characters"]
    assert all(isinstance(rule, partial) for rule in made.values())
    assert [round(rule(["x", "y y"], [0, 1])(["y"])[0][1], 4) for rule in made.values()] == [0.5, 0.6667, 0.6429]
