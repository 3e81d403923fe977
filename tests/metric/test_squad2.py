"""The scores of v2.0 against a second reading of evaluate-v2.0.py, with its dictionaries, and by hand."""

import math
import random
import re
import string
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from manyheads.metric.output import OutputMetric
from manyheads.metric.squad import Answer
from manyheads.metric.squad2 import (
    F1,
    AnswerableExact,
    AnswerableF1,
    BestExact,
    BestExactThreshold,
    BestF1,
    BestF1Threshold,
    Exact,
    UnanswerableExact,
    UnanswerableF1,
    UsedThreshold,
)
from manyheads.metric.texts import Sourced

ALL: Mapping[str, type[OutputMetric]] = {
    "exact": Exact,
    "f1": F1,
    "HasAns_exact": AnswerableExact,
    "HasAns_f1": AnswerableF1,
    "NoAns_exact": UnanswerableExact,
    "NoAns_f1": UnanswerableF1,
    "best_exact": BestExact,
    "best_exact_thresh": BestExactThreshold,
    "best_f1": BestF1,
    "best_f1_thresh": BestF1Threshold,
}
"""By the script's own keys."""


# The script, read again.


def tokens(text: str) -> list[str]:
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    parts = re.split(r"(\w+)", kept)
    return "".join(" " if part in {"a", "an", "the"} else part for part in parts).split()


def compare(prediction: str, gold: str) -> dict[str, float]:
    given, wanted = tokens(prediction), tokens(gold)
    same = float(given == wanted)
    if not given or not wanted:
        return {"exact": same, "f1": same}
    shared = sum(min(given.count(token), count) for token, count in Counter(wanted).items())
    return {"exact": same, "f1": 2 * shared / (len(given) + len(wanted))}


def evaluate(
    gold: dict[int, list[str]], said: dict[int, str], no_answer: dict[int, float], threshold: float
) -> dict[str, Any]:
    has = {key: len(answers) > 0 for key, answers in gold.items()}
    raw: dict[str, dict[int, float]] = {"exact": {}, "f1": {}}
    for key, answers in gold.items():
        compared = [compare(said[key], answer) for answer in answers if tokens(answer)] or [compare(said[key], "")]
        for kind in raw:
            raw[kind][key] = max(scores[kind] for scores in compared)
    out: dict[str, Any] = {}
    for kind, scores in raw.items():
        final = {k: float(not has[k]) if no_answer[k] > threshold else score for k, score in scores.items()}
        out[kind] = 100 * sum(final.values()) / len(final)
        for prefix, wanted in (("HasAns", True), ("NoAns", False)):
            part = [final[key] for key in gold if has[key] == wanted]
            out[f"{prefix}_{kind}"] = 100 * sum(part) / len(part) if part else math.nan
        # sums after each question, from the one that most likely has an answer on
        ranked = sorted(no_answer, key=lambda key: no_answer[key])
        steps = [scores[key] if has[key] else (-1.0 if said[key] else 0.0) for key in ranked]
        silent = float(len(has) - sum(has.values()))
        sums = [silent + sum(steps[:n]) for n in range(len(steps) + 1)]
        at = sums.index(max(sums))
        out[f"best_{kind}"] = 100 * sums[at] / len(gold)
        out[f"best_{kind}_thresh"] = no_answer[ranked[at - 1]] if at else 0.0
    return out


def made_up(seed: int) -> tuple[list[Answer], list[list[str]]]:
    """Short answers, half of them to questions that have none; probabilities with ties, or all the same."""
    chance = random.Random(seed)
    words = ["the cat", "cat", "a black cat", "dog", "the", "", "!", "猫", "猫 狗", "U.S.", "us"]
    targets = [chance.choices(words, k=chance.choice([0, 0, 1, 2, 3])) for _ in range(chance.randint(1, 12))]
    outputs = []
    for target in targets:
        text = chance.choice(target) if target and chance.random() < 0.6 else chance.choice(words)
        outputs.append(Answer(text, chance.choice([0.0, 0.25, 0.5, 0.75, 1.0, chance.random()])))
    return outputs, targets


@pytest.mark.parametrize("threshold", [1.0, 0.5, 0.0])
def test_as_the_script(threshold: float) -> None:
    """400 small splits, so that ties, splits of one kind of question and single questions are among them."""
    seen: dict[str, set[float]] = {key: set() for key in ALL}
    for seed in range(400):
        outputs, targets = made_up(seed)
        expected = evaluate(
            dict(enumerate(targets)),
            {i: output.text for i, output in enumerate(outputs)},
            {i: output.no_answer for i, output in enumerate(outputs)},
            threshold,
        )
        for key, metric in ALL.items():
            ours = metric() if key.startswith("best") else metric(threshold=threshold)
            found = ours.score(outputs, targets)
            assert found == pytest.approx(expected[key], rel=1e-12, abs=1e-12, nan_ok=True), (seed, key)
            if not math.isnan(found):
                seen[key].add(found)
    assert all(len(values) > 5 for values in seen.values())


def test_each_is_what_the_score_is_the_mean_of() -> None:
    outputs, targets = made_up(3)
    for metric in (Exact(threshold=0.4), F1(threshold=0.4)):
        each = metric.each(outputs, targets)
        assert sum(each) / len(each) == pytest.approx(metric.score(outputs, targets))
    assert AnswerableF1().each(outputs, targets) is None


def test_the_best_threshold_by_hand() -> None:
    """Silence scores 2 of 4. Answering up to 0.1: 3; up to 0.3 the answer to a question without one costs 1; up to 0.6: 3."""
    outputs = [Answer("cat", 0.6), Answer("dog", 0.1), Answer("ox", 0.3), Answer("", 0.2)]
    targets = [["cat"], ["the dog"], [], []]
    assert (BestExact().score(outputs, targets), BestExactThreshold().score(outputs, targets)) == (75, 0.1)
    assert Exact().score(outputs, targets) == 75
    assert Exact(threshold=0.1).score(outputs, targets) == 75
    assert Exact(threshold=0.05).score(outputs, targets) == 50


def test_no_answer_and_none_given_is_right() -> None:
    """In v1.1 its F1 would be 0. An answer of articles alone is none."""
    assert F1().each(["", "the", "cat"], [[], [], []]) == [100, 100, 0]
    assert F1().each(["", "cat"], [["the", "!"], ["the"]]) == [100, 0]


def test_texts_alone_are_answers_and_a_source_may_be_told() -> None:
    targets = [Sourced(references=["cat"], source="the cat sat"), Sourced(references=[], source="the cat sat")]
    assert Exact().score(["the cat", ""], targets) == 100
    assert (BestF1().score(["the cat", ""], targets), BestF1Threshold().score(["the cat", ""], targets)) == (100, 0)


@pytest.mark.parametrize("metric", ALL.values())
def test_no_examples(metric: type[OutputMetric]) -> None:
    assert math.isnan(metric().score([], []))


def test_names_are_the_scripts_keys() -> None:
    assert {metric.name for metric in ALL.values()} == {
        key.replace("HasAns", "has_ans").replace("NoAns", "no_ans") for key in ALL
    }


def test_the_threshold_that_was_used_is_told() -> None:
    assert UsedThreshold(0.25).score(["a"], [["a"]]) == 0.25
    assert math.isnan(UsedThreshold(0.25).score([], []))
