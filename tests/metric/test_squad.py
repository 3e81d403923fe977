"""Exact match and F1 against a second reading of evaluate-v1.1.py, against torchmetrics, and by hand."""

import math
import random
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from torchmetrics.functional.text import squad as torchmetrics_squad

from manyheads.errors import UserError
from manyheads.metric.squad import Answer, AnswerF1, ExactMatch, exact_match, f1, normalized

Cases = Sequence[tuple[str, list[str]]]


# The script, read again: lower, drop each character of string.punctuation, blank the articles, split.


def tokens(text: str) -> list[str]:
    kept = [character for character in text.lower() if character not in string.punctuation]
    # \b is where a word character, in Unicode's sense, meets another one
    parts = re.split(r"(\w+)", "".join(kept))
    return "".join(" " if part in {"a", "an", "the"} else part for part in parts).split()


def script_exact(prediction: str, gold: str) -> float:
    return float(tokens(prediction) == tokens(gold))


def script_f1(prediction: str, gold: str) -> float:
    given, wanted = tokens(prediction), Counter(tokens(gold))
    shared = 0
    for token in given:
        if wanted[token] > 0:
            wanted[token] -= 1
            shared += 1
    return 2 * shared / (len(given) + len(tokens(gold))) if shared else 0.0


def script(cases: Cases, score: Callable[[str, str], float]) -> list[float]:
    return [100 * max(score(output, gold) for gold in golds) for output, golds in cases]


def near_answers(count: int) -> list[tuple[str, list[str]]]:
    """Answers that differ in what normalizing takes away, or in one word."""
    chance = random.Random(11)
    answers = [
        "the Cat",
        "Cat.",
        "a cat, an ox",
        "the",
        "A.",
        "",
        " ",
        "U.S.",
        "us",
        "an  apple",
        "apple-pie",
        "猫",
        "猫。",
    ]
    answers += ["theatre", "the-atre", "The The", "«the»", "İstanbul", "ﬁne", "the_cat", "a\u00a0cat", "a\u0301", "“a”"]
    return [(chance.choice(answers), chance.choices(answers, k=chance.randint(1, 3))) for _ in range(count)]


def test_as_the_script(text_cases: Cases) -> None:
    cases = [*text_cases, *near_answers(500)]
    outputs, targets = zip(*cases, strict=True)
    for metric, score in ((ExactMatch(), script_exact), (AnswerF1(), script_f1)):
        expected = script(cases, score)
        assert metric.each(outputs, targets) == pytest.approx(expected, abs=1e-12)
        assert metric.score(outputs, targets) == pytest.approx(sum(expected) / len(cases), rel=1e-12)
        assert 5 < metric.score(outputs, targets) < 95


def test_as_torchmetrics() -> None:
    """Its F1 of two answers without a word is 1, as in v2.0, where this script says 0: those are left out."""
    cases = [(o, golds) for o, golds in near_answers(300) if tokens(o)]
    outputs, targets = zip(*cases, strict=True)
    found = torchmetrics_squad(
        [{"prediction_text": output, "id": str(i)} for i, output in enumerate(outputs)],
        [{"answers": {"answer_start": [0], "text": list(golds)}, "id": str(i)} for i, golds in enumerate(targets)],
    )
    assert ExactMatch().score(outputs, targets) == pytest.approx(float(found["exact_match"]), rel=1e-6)
    assert AnswerF1().score(outputs, targets) == pytest.approx(float(found["f1"]), rel=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  U.S.\tArmy", "us army"),  # punctuation goes before articles are looked for
        ("a-the", "athe"),
        ("An apple a day", "apple day"),
        ("theatre", "theatre"),
        ("“the”", "“ ”"),  # not ASCII: stays
        ("the，猫", "，猫"),
        ("the猫", "the猫"),  # one word, in Unicode's sense
        ("!?", ""),
        ("", ""),
    ],
)
def test_normalized(text: str, expected: str) -> None:
    assert normalized(text) == expected


def test_by_hand() -> None:
    """Shared: cat, sat once each. Precision 2/3, recall 2/4."""
    assert f1("cat sat down there", "the cat sat sat") == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert exact_match("The cat!", "cat") == 1
    assert AnswerF1().each(["cat"], [["dog", "black cat", "cat"]]) == [100]


def test_two_answers_without_a_word_match_but_share_none() -> None:
    """The script asks for a shared word first, so its F1 is below its exact match here."""
    assert ExactMatch().score(["the"], [["a"]]) == 100
    assert AnswerF1().score(["the"], [["a"]]) == 0


def test_an_answer_with_a_probability_counts_by_its_text() -> None:
    assert ExactMatch().score([Answer("the cat", 0.9), "dog"], [["cat"], ["cat"]]) == 50


def test_no_examples_and_no_gold_answer() -> None:
    assert math.isnan(ExactMatch().score([], []))
    with pytest.raises(UserError, match="example 0 of the split has no reference text"):
        ExactMatch().score(["cat"], [[]])
