import math
from collections.abc import Sequence

import pytest
from sacrebleu.metrics.bleu import BLEU

from manyheads.metric.text_length import LengthRatio, NovelBigrams
from manyheads.metric.texts import Sourced

Cases = Sequence[tuple[str, list[str]]]


def test_the_ratio_is_sacrebleus(text_cases: Cases) -> None:
    """Guards against a mean of ratios, and against the first reference instead of the nearest."""
    outputs, targets = zip(*text_cases, strict=True)
    streams = [[refs[i] if i < len(refs) else None for refs in targets] for i in range(4)]
    bleu = BLEU(tokenize="zh").corpus_score(list(outputs), streams)
    assert LengthRatio().score(outputs, targets) == pytest.approx(bleu.ratio, rel=1e-12)
    assert bleu.ratio != pytest.approx(1, rel=1e-3)


def test_of_two_references_as_near_the_shorter_counts() -> None:
    assert LengthRatio().each(["a b c"], [["a b c d", "a b"]]) == [1.5]


def test_nothing_to_compare_with_gives_no_ratio() -> None:
    assert math.isnan(LengthRatio().score([], []))
    assert math.isnan(LengthRatio().score(["a"], [[""]]))
    first, second = LengthRatio().each(["a", ""], [[""], ["b"]])
    assert math.isnan(first)
    assert second == 0


def test_novel_bigrams_by_hand() -> None:
    """Source pairs, lowered: the-cat cat-sat sat-on on-the the-mat. Output pairs: the-cat cat-ran ran-on on-the the-cat."""
    target = Sourced(references=["not looked at"], source="The cat sat on the Mat")
    assert NovelBigrams().each(["The cat ran on the cat"], [target]) == [pytest.approx(2 / 5)]
    assert NovelBigrams().each(["the cat SAT", "mat the"], [target] * 2) == [0, 1]


def test_novel_bigrams_of_chinese_are_of_characters() -> None:
    target = Sourced(references=[""], source="猫坐在垫子上")
    assert NovelBigrams().score(["猫坐垫子"], [target]) == pytest.approx(1 / 3)


def test_texts_without_a_pair_are_left_out_of_the_mean() -> None:
    """As 0 they would pass for copied ones."""
    target = Sourced(references=[""], source="the cat")
    each = NovelBigrams().each(["", "cat", "a b"], [target] * 3)
    assert [math.isnan(share) for share in each] == [True, True, False]
    assert NovelBigrams().score(["", "cat", "a b"], [target] * 3) == 1
    assert math.isnan(NovelBigrams().score([""], [target]))
    assert NovelBigrams().score(["a b"], [Sourced(references=[""], source="")]) == 1
