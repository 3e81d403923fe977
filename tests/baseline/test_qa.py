"""Guards baselines by hand: a rule that is not the one that is told."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from manyheads.baseline.base import Baseline
from manyheads.baseline.qa import BestSentence, FixedSpan, NoAnswer, WholeContext, answerers
from manyheads.metric.squad import f1

CONTEXT = "We keep data. Is it sold? Never is the data sold! It is kept for 3.5 years."


def answer(rule: Baseline, context: str, question: str) -> str:
    """What a rule says that learns nothing from train."""
    return rule([], [])([{"context": context, "question": question}])[0]


def test_the_rules_by_name() -> None:
    """That there is no answer is a rule only where that can be right."""
    assert list(answerers(unanswerable=False)) == ["fixed_span", "whole_context", "best_sentence"]
    assert list(answerers(unanswerable=True)) == ["no_answer", "fixed_span", "whole_context", "best_sentence"]


def test_the_whole_context_and_no_answer() -> None:
    assert answer(WholeContext, CONTEXT, "Is data sold?") == CONTEXT
    assert answer(NoAnswer, CONTEXT, "Is data sold?") == ""


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Is the data sold?", "Never is the data sold!"),  # is, data, sold: articles do not count
        ("DATA", "Never is the data sold!"),  # the longer of two, whatever its case
        ("How many years, for what?", "It is kept for 3.5 years."),
        ("Who?", "It is kept for 3.5 years."),  # none shares a word: the longest, 6 words without the mark
        ("is is is we keep the databases", "We keep data."),  # "is" counts once, and "databases" begins as "data" does
    ],
)
def test_the_sentence_that_shares_the_most_words(question: str, expected: str) -> None:
    assert answer(BestSentence, CONTEXT, question) == expected


def test_of_sentences_as_long_the_first() -> None:
    assert answer(BestSentence, "Red fox. Red cat.", "red") == "Red fox."


def test_an_empty_context() -> None:
    assert answer(BestSentence, " ", "Who?") == ""


def fitted(*rows: tuple[str, list[str]]) -> FixedSpan:
    return FixedSpan([{"context": context, "question": "q"} for context, _ in rows], [golds for _, golds in rows])


def test_the_fixed_span_by_hand() -> None:
    """Words 1 to 2 have the F1 1 + 2/3 + 1, word 1 alone has 2/3 + 1 + 2/3; without the third row they are as good."""
    context = "one two three four"
    rows: list[tuple[str, list[str]]] = [(context, ["Two, three"]), (context, ["two"]), (context, ["two three"])]
    assert fitted(*rows).span == (1, 3)
    assert fitted(*rows[:2]).span == (1, 2)
    assert fitted(*rows, (context, []), (context, [])).span == (1, 3)  # no answer, nothing learned
    asked = [{"context": text, "question": "q"} for text in ("p  q\nr s t", "p q", "p", "")]
    assert fitted(*rows)(asked) == ["q r", "q", "", ""]


def test_the_fixed_span_is_the_best_of_all_by_the_official_score() -> None:
    """Articles and marks are no words, words come twice, and contexts are of several lengths."""
    words = ["the", "red", "red,", "-", "fox", "ran", "A", "far"]
    random = np.random.default_rng(0)
    for _ in range(5):
        contexts = [" ".join(random.choice(words, random.integers(1, 9))) for _ in range(4)]
        golds = [" ".join(random.choice(words, random.integers(1, 4))) for _ in contexts]
        spans = list(itertools.combinations(range(9), 2))
        means = {
            span: sum(
                f1(gold, " ".join(text.split()[slice(*span)])) for text, gold in zip(contexts, golds, strict=True)
            )
            for span in spans
        }
        found = fitted(*((text, [gold]) for text, gold in zip(contexts, golds, strict=True))).span
        assert means[found] == pytest.approx(max(means.values()))
