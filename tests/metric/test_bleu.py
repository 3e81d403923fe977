"""BLEU and chrF against sacrebleu's command, against NLTK's BLEU, and by hand."""

import math
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import sacrebleu

from manyheads.errors import UserError
from manyheads.metric.bleu import TOKENIZERS, Bleu, Chrf, ChrfPlusPlus
from manyheads.metric.texts import Sourced

Cases = Sequence[tuple[str, list[str]]]


def by_command(folder: Path, outputs: Sequence[str], targets: Sequence[Sequence[str]], *options: str) -> list[str]:
    """What the command prints for texts of one line each, with as many references for each."""
    (folder / "out").write_text("\n".join(outputs) + "\n", encoding="utf-8")
    names = [f"ref{i}" for i in range(len(targets[0]))]
    for name, texts in zip(names, zip(*targets, strict=True), strict=True):
        (folder / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", *names, "-i", "out", "-w", "10", "-f", "text", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_as_the_command_prints(tmp_path: Path, text_cases: Cases) -> None:
    """Score and signature, of two references for each; texts of one line, as files have them."""
    cases = [(" ".join(o.split()), [" ".join(r.split()) for r in (rs * 2)[:2]]) for o, rs in text_cases]
    outputs, targets = zip(*cases, strict=True)
    metrics = (Bleu(tokenize="intl"), Chrf(), ChrfPlusPlus())
    scores = [metric.score(outputs, targets) for metric in metrics]
    lines = [
        *by_command(tmp_path, outputs, targets, "-m", "bleu", "chrf", "-tok", "intl"),
        *by_command(tmp_path, outputs, targets, "-m", "chrf", "--chrf-word-order", "2"),
    ]
    for metric, score, line in zip(metrics, scores, lines, strict=True):
        named, printed = line.split(" = ", maxsplit=1)
        assert named.partition("|")[2] == metric.signature
        assert float(printed.split()[0]) == pytest.approx(score, abs=1e-9)
    assert len({round(score, 3) for score in scores}) == 3


def test_references_of_unequal_number_as_nltk_counts_them(text_cases: Cases) -> None:
    """NLTK has its own BLEU, also with the nearest length and clipped counts, and takes lists of any length.

    Of the outputs that have four words: to a shorter one NLTK gives a 4-gram that it does not have.
    """
    from nltk.translate.bleu_score import corpus_bleu

    outputs, targets = zip(*(case for case in text_cases if len(case[0].split()) >= 4), strict=True)
    assert len(outputs) > 150
    assert len({len(target) for target in targets}) == 4
    expected = 100 * corpus_bleu([[r.split() for r in refs] for refs in targets], [text.split() for text in outputs])
    metric = Bleu(tokenize="none")
    assert metric.score(outputs, targets) == pytest.approx(expected, rel=1e-12)
    assert expected > 10
    assert metric.signature is not None
    assert "nrefs:var|" in metric.signature


@pytest.mark.parametrize("tokenize", TOKENIZERS)
def test_each_is_sentence_bleu(tokenize: str, text_cases: Cases) -> None:
    outputs, targets = zip(*text_cases, strict=True)
    expected = [sacrebleu.sentence_bleu(o, refs, tokenize=tokenize).score for o, refs in text_cases]
    assert Bleu(tokenize=tokenize).each(outputs, targets) == expected
    assert len(set(expected)) > 50


def test_each_is_sentence_chrf(text_cases: Cases) -> None:
    outputs, targets = zip(*text_cases, strict=True)
    for metric, order in ((Chrf(), 0), (ChrfPlusPlus(), 2)):
        expected = [sacrebleu.sentence_chrf(o, refs, word_order=order).score for o, refs in text_cases]
        assert metric.each(outputs, targets) == expected


def test_bleu_by_hand() -> None:
    """Precisions 5/6, 3/5, 1/4 and none of 3: exp smoothing takes 1/2 of a match. No penalty."""
    score = Bleu().score(["the cat sat on the mat"], [["the cat is on the mat"]])
    assert score == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / (2 * 3)) ** (1 / 4))


def test_chrf_by_hand() -> None:
    """Characters a b c and a b d; orders 1 to 3: P = R = 2/3, 1/2, 0; the orders above do not count."""
    assert Chrf().score(["abc"], [["abd"]]) == pytest.approx(100 * (2 / 3 + 1 / 2) / 3)


def test_chinese_needs_its_tokenizer() -> None:
    split = ["今天天气很好我们去公园"], [["今天天气很好我们回家"]]
    assert Bleu().score(*split) == 0
    assert Bleu(tokenize="zh").score(*split) == pytest.approx(Bleu(tokenize="char").score(*split))
    assert Bleu(tokenize="zh").score(*split) > 60


def test_case_counts_unless_it_is_left_out() -> None:
    split = ["The Cat Sat Down"], [["the cat sat down"]]
    assert Bleu().score(*split) == 0
    assert [metric.score(*split) for metric in (Bleu(lowercase=True), Chrf(lowercase=True))] == pytest.approx([100] * 2)


def test_empty_texts_and_no_examples() -> None:
    for metric in (Bleu(), Chrf(), ChrfPlusPlus()):
        assert metric.score([""], [["a"]]) == 0
        assert metric.score(["a"], [[""]]) == 0
        assert math.isnan(metric.score([], []))
        assert metric.each([], []) == []
        assert metric.signature is not None
    assert Bleu().signature is None


def test_a_source_beside_the_references_changes_nothing() -> None:
    target = Sourced(references=["the cat sat down"], source="die Katze setzte sich")
    assert Chrf().score(["the cat"], [target]) == Chrf().score(["the cat"], [["the cat sat down"]])


def test_a_wrong_tokenizer_is_told() -> None:
    with pytest.raises(UserError, match=r"tokenize=13b is not one of 13a, zh, char, intl, none\. Did you mean '13a'"):
        Bleu(tokenize="13b")


def test_single_sentences_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """sacrebleu logs a line for each sentence when it scores sentences with a metric of a corpus."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Bleu().each(["a b c"] * 3, [["a b c"]] * 3)
    assert caplog.records == []
