import math
import random
from collections import Counter

import pytest

from manyheads.metric.diversity import Distinct1, Distinct2, Distinct3, Repetition


def test_distinct_by_hand() -> None:
    """7 words: a b a b | a b c. Different: a b c; ab ba bc; aba bab abc. Over words, as the paper divides."""
    texts = ["a b a b", "a b c"]
    assert [metric().score(texts) for metric in (Distinct1, Distinct2, Distinct3)] == [3 / 7] * 3
    assert Distinct2().score(["a b c d"]) == 3 / 4


def test_ngrams_do_not_run_from_one_text_into_the_next() -> None:
    assert Distinct2().score(["a b", "c d"]) == 2 / 4


def test_repetition_by_hand() -> None:
    """x y z x y z x: runs xyzx yzxy zxyz xyzx, of which one was there before."""
    assert Repetition().each(["x y z x y z x", "a b c d", "no no no no no no"]) == [0.25, 0, pytest.approx(2 / 3)]
    assert Repetition().score(["x y z x y z x", "a b c d"]) == 0.125


def test_repetition_of_chance_texts() -> None:
    """Counted another way: every occurrence of a run but its first."""
    chance = random.Random(3)
    texts = [" ".join(chance.choices("abc", k=chance.randint(4, 60))) for _ in range(200)]
    expected = []
    for text in texts:
        letters = text.replace(" ", "")
        runs = Counter(letters[i : i + 4] for i in range(len(letters) - 3))
        expected.append(sum(count - 1 for count in runs.values()) / runs.total())
    assert Repetition().each(texts) == pytest.approx(expected)
    assert Repetition().score(texts) == pytest.approx(sum(expected) / 200)


def test_short_texts_are_left_out_and_no_text_has_no_score() -> None:
    assert Repetition().score(["", "a b c", "a a a a a"]) == 0.5
    for metric in (Distinct1(), Distinct2(), Distinct3(), Repetition()):
        assert math.isnan(metric.score([]))
        assert math.isnan(metric.score([""]))
    assert Distinct3().score(["a b"]) == 0


def test_chinese_is_counted_by_characters() -> None:
    assert Distinct1().score(["猫猫狗狗"]) == 0.5
    assert Repetition().score(["猫狗猫狗猫狗"]) == pytest.approx(1 / 3)
