"""ROUGE against the package, against the paper's own examples, and against counts of this file."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pytest
from rouge_score.rouge_scorer import RougeScorer

from manyheads.errors import UserError
from manyheads.metric.rouge import Rouge, Rouge1, Rouge2, RougeL, RougeLsum
from manyheads.metric.texts import Sourced

Cases = Sequence[tuple[str, list[str]]]
ALL = (Rouge1, Rouge2, RougeL, RougeLsum)


@pytest.mark.parametrize("stemmer", [True, False])
@pytest.mark.parametrize("metric", ALL)
def test_as_the_package(metric: type[Rouge], stemmer: bool, text_cases: Cases) -> None:
    """Guards against a maximum over references that is shared by the kinds: here each kind is scored alone."""
    scorer = RougeScorer([metric.kind], use_stemmer=stemmer)
    expected = [max(scorer.score(r, output)[metric.kind].fmeasure for r in rs) for output, rs in text_cases]
    outputs, targets = zip(*text_cases, strict=True)
    ours = metric(use_stemmer=stemmer)
    assert ours.each(outputs, targets) == pytest.approx([100 * f for f in expected], abs=1e-12)
    assert ours.score(outputs, targets) == pytest.approx(100 * sum(expected) / len(expected), rel=1e-12)
    assert len(set(expected)) > 50


def test_lines_make_sentences_for_lsum_alone() -> None:
    """The same sentences in another order: Lsum sees both, L only the longer run."""
    output, target = "the dog ran off\nthe cat sat", ["the cat sat\nthe dog ran off"]
    assert RougeLsum().score([output], [target]) == pytest.approx(100)
    assert RougeL().score([output], [target]) == pytest.approx(100 * 4 / 7)
    assert RougeLsum().score([output.replace("\n", " ")], [[target[0].replace("\n", " ")]]) == pytest.approx(400 / 7)


def test_the_papers_examples() -> None:
    """Lin 2004, section 3.1 (police kill the gunman) and 3.2 (the union of two sentences: recall 4/5, precision 4/10)."""
    target = ["police killed the gunman"]
    ours = RougeL(use_stemmer=False)
    assert ours.each(["police kill the gunman", "the gunman kill police"], [target] * 2) == pytest.approx([75, 50])
    assert RougeL().each(["police kill the gunman"], [target]) == pytest.approx([100])  # stems
    union = RougeLsum().score(["w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5"], [["w1 w2 w3 w4 w5"]])
    assert union == pytest.approx(100 * 2 * 0.8 * 0.4 / 1.2)


def characters(text: str) -> list[str]:
    return [character for character in text if not character.isspace()]


def f1(shared: int, given: int, wanted: int) -> float:
    return 200 * shared / (given + wanted) if given and wanted else 0.0


def common(a: list[str], b: list[str]) -> int:
    @cache
    def longest(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        return 1 + longest(i + 1, j + 1) if a[i] == b[j] else max(longest(i + 1, j), longest(i, j + 1))

    return longest(0, 0)


@pytest.mark.parametrize(
    ("output", "target"),
    [("猫坐在垫子上", "猫在垫子上坐"), ("今天天气很好。", "今天的天气真好。"), ("", "猫"), ("猫", "狗")],
)
def test_chinese_by_its_characters(output: str, target: str) -> None:
    """rouge_score's own tokenizer sees no word in them and gives 0, which would pass for a bad model."""
    given, wanted = characters(output), characters(target)
    pairs = [Counter(pairwise(text)) for text in (given, wanted)]
    expected = [
        f1((Counter(given) & Counter(wanted)).total(), len(given), len(wanted)),
        f1((pairs[0] & pairs[1]).total(), pairs[0].total(), pairs[1].total()),
        f1(common(given, wanted), len(given), len(wanted)),
    ]
    found = [metric(tokenize="zh").score([output], [[target]]) for metric in (Rouge1, Rouge2, RougeL)]
    assert found == pytest.approx(expected)
    assert Rouge1().score([output], [[target]]) == 0


def test_words_among_chinese_are_lowered() -> None:
    assert Rouge2(tokenize="zh").score(["我爱 Python"], [["我爱 python"]]) == 100


def test_a_source_beside_the_references_changes_nothing() -> None:
    target = Sourced(references=["the cat sat"], source="the cat sat on the mat")
    assert RougeL().score(["the cat"], [target]) == RougeL().score(["the cat"], [["the cat sat"]])


def test_options_do_not_share_what_was_computed() -> None:
    """Scores of a split are kept for the other kinds."""
    split = ["running"], [["runs"]]
    assert [Rouge1(use_stemmer=stem).score(*split) for stem in (True, False, True)] == [100, 0, 100]
    assert Rouge1().score(["walking"], [["runs"]]) == 0


def test_no_examples_and_wrong_options() -> None:
    assert math.isnan(Rouge1().score([], []))
    with pytest.raises(UserError, match=r"tokenize=zhh is not one of default, zh\. Did you mean 'zh'"):
        Rouge1(tokenize="zhh")


def test_it_says_how_it_was_computed() -> None:
    assert RougeL().signature.startswith("rouge_score 0.")
    assert RougeL(use_stemmer=False).signature.endswith("use_stemmer=False, tokenize=default")
    assert [metric.name for metric in ALL] == ["rouge_1", "rouge_2", "rouge_l", "rouge_lsum"]
