"""Scores of classes against scikit-learn, over splits of chance with ties and classes that are not there, and by hand."""

import math
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from manyheads.metric.classification import (
    Auroc,
    CalibrationError,
    ExampleAccuracy,
    MacroF1,
    MatthewsCorrelation,
    MicroF1,
    confusion_matrix,
)

ALL = (ExampleAccuracy, MacroF1, MicroF1, MatthewsCorrelation, Auroc, CalibrationError)
Split = tuple[list[list[float]], list]


def splits(several: bool, count: int = 200) -> Iterator[Split]:
    """Of 1 to 40 examples and 2 to 6 classes, so that some classes are never true, or never predicted.

    Half of them have probabilities of few digits, with ties within and between examples.
    """
    for seed in range(count):
        chance = np.random.default_rng(seed)
        n, c = int(chance.integers(1, 41)), int(chance.integers(2, 7))
        if several:
            outputs = chance.random((n, c))
            targets = (chance.random((n, c)) < chance.choice([0.1, 0.4])).astype(int)
        else:
            outputs = chance.dirichlet(np.full(c, 0.7), size=n)
            targets = chance.integers(0, chance.integers(1, c + 1), size=n)
        yield (np.round(outputs, 1) if seed % 2 else outputs).tolist(), targets.tolist()


def predicted(outputs: list[list[float]]) -> np.ndarray:
    return np.argmax(outputs, axis=1)


def test_one_class_each_as_scikit_learn() -> None:
    seen = set()
    for outputs, targets in splits(several=False):
        guess = predicted(outputs)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A single label was found", UserWarning)
            expected = [
                sk.accuracy_score(targets, guess),
                sk.f1_score(targets, guess, average="macro", zero_division=0),
                sk.f1_score(targets, guess, average="micro", zero_division=0),
                sk.matthews_corrcoef(targets, guess),
            ]
        assert [metric().score(outputs, targets) for metric in ALL[:4]] == pytest.approx(expected, abs=1e-12)
        seen.add(round(expected[3], 6))
    assert len(seen) > 50
    assert 0 in seen


def test_several_classes_as_scikit_learn() -> None:
    seen = set()
    for outputs, targets in splits(several=True):
        guess = (np.asarray(outputs) > 0.5).astype(int)
        expected = [
            sk.accuracy_score(targets, guess),
            sk.f1_score(targets, guess, average="macro", zero_division=0),
            sk.f1_score(targets, guess, average="micro", zero_division=0),
        ]
        assert [metric().score(outputs, targets) for metric in ALL[:3]] == pytest.approx(expected, abs=1e-12)
        seen.add(round(expected[1], 6))
    assert len(seen) > 50


@pytest.mark.parametrize("several", [True, False])
def test_auroc_as_scikit_learn(several: bool) -> None:
    """Of the classes that have examples for and against them; scikit-learn has no value for the others."""
    known = 0
    for outputs, targets in splits(several):
        scores = np.asarray(outputs)
        true = np.asarray(targets) if several else np.eye(scores.shape[1], dtype=int)[targets]
        mixed = [c for c in range(scores.shape[1]) if 0 < true[:, c].sum() < len(true)]
        expected = np.mean([sk.roc_auc_score(true[:, c], scores[:, c]) for c in mixed]) if mixed else math.nan
        assert Auroc().score(outputs, targets) == pytest.approx(expected, abs=1e-6, nan_ok=True)
        known += bool(mixed)
    assert 100 < known < 200


def test_auroc_of_one_against_the_rest_and_of_two() -> None:
    chance = np.random.default_rng(0)
    outputs, targets = chance.dirichlet([1, 1, 1], size=300), chance.integers(0, 3, size=300)
    rest = sk.roc_auc_score(targets, outputs, multi_class="ovr", average="macro")
    assert Auroc().score(outputs.tolist(), targets.tolist()) == pytest.approx(rest, abs=1e-6)
    second = chance.random(300)
    two = np.stack([1 - second, second], axis=1).tolist()
    usual = sk.roc_auc_score(targets > 0, second)
    assert Auroc().score(two, (targets > 0).astype(int).tolist()) == pytest.approx(usual, abs=1e-6)


def test_one_class_alone() -> None:
    """All true: AUROC has no pairs, the correlation is 0 by convention, also when everything is right."""
    outputs = [[0.9, 0.1], [0.8, 0.2]]
    assert math.isnan(Auroc().score(outputs, [0, 0]))
    assert MatthewsCorrelation().score(outputs, [0, 0]) == 0
    assert MatthewsCorrelation().score(outputs, [0, 1]) == 0
    assert MacroF1().score(outputs, [0, 0]) == 1


def guo(outputs: list[list[float]], targets: list[int], bins: int) -> float:
    """Equations 2 and 3 of the paper as they stand: bin m is ((m - 1) / M, m / M]."""
    confidence, right = np.max(outputs, axis=1), predicted(outputs) == np.asarray(targets)
    total = 0.0
    for low, high in zip(np.linspace(0, 1, bins + 1)[:-1], np.linspace(0, 1, bins + 1)[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.sum() / len(outputs) * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_calibration_error_as_the_paper_says() -> None:
    found = set()
    for outputs, targets in splits(several=False):
        for bins in (15, 10, 1):
            expected = guo(outputs, targets, bins)
            assert CalibrationError(bins).score(outputs, targets) == pytest.approx(expected, abs=1e-12)
            found.add(round(expected, 6))
    assert len(found) > 100


def test_calibration_error_as_torchmetrics_but_for_edges() -> None:
    """Without a confidence on an edge, which torchmetrics gives to the bin above."""
    for outputs, targets in list(splits(several=False))[::2]:
        theirs = multiclass_calibration_error(
            torch.tensor(outputs), torch.tensor(targets), num_classes=len(outputs[0]), n_bins=15
        )
        assert CalibrationError().score(outputs, targets) == pytest.approx(float(theirs), abs=1e-6)


def test_calibration_error_by_hand() -> None:
    """0.6 is the upper edge of its bin, 0.62 is in the next: gaps |1 - 0.6| and |0 - 0.62|, half of the examples each."""
    assert CalibrationError().score([[0.6, 0.4], [0.62, 0.38]], [0, 1]) == pytest.approx((0.4 + 0.62) / 2)
    assert CalibrationError().score([[1.0, 0.0]] * 2, [0, 1]) == pytest.approx(0.5)


def test_the_confusion_matrix_as_scikit_learn() -> None:
    for outputs, targets in splits(several=False, count=60):
        expected = sk.confusion_matrix(targets, predicted(outputs), labels=range(len(outputs[0])))
        assert confusion_matrix(outputs, targets).tolist() == expected.tolist()
    assert confusion_matrix([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], [0, 1, 1]).tolist() == [[0, 1], [1, 1]]


def test_ties_go_to_the_first_class_and_one_half_is_not_predicted() -> None:
    assert ExampleAccuracy().each([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]], [0, 2]) == [1, 0]
    assert ExampleAccuracy().each([[0.5, 0.51], [0.5, 0.51]], [[0, 1], [1, 1]]) == [1, 0]


def test_one_example_by_itself_and_all_labels_right() -> None:
    assert ExampleAccuracy().each([[0.9, 0.8, 0.1]] * 2, [[1, 1, 0], [1, 0, 0]]) == [1, 0]
    assert ExampleAccuracy().score([[0.2, 0.8]], [1]) == 1
    assert MacroF1().each([[0.2, 0.8]], [1]) is None


@pytest.mark.parametrize("metric", ALL)
def test_no_examples(metric: type[ExampleAccuracy]) -> None:
    assert math.isnan(metric().score([], []))


@pytest.mark.parametrize("metric", [MatthewsCorrelation, CalibrationError])
def test_what_is_of_one_class_refuses_several(metric: type[MatthewsCorrelation]) -> None:
    with pytest.raises(AssertionError, match="one class for each example"):
        metric().score([[0.2, 0.8]], [[1, 1]])


def test_tensors_are_taken_too() -> None:
    """Rows of a head's output, and targets with a number type of their own."""
    rows, labels = torch.tensor([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 1])
    for metric in ALL:
        plain = metric().score([[0.2, 0.8], [0.9, 0.1]], [1, 1])
        assert metric().score(list(rows), list(labels)) == pytest.approx(plain, nan_ok=True)


def test_names_units_and_directions() -> None:
    assert {metric.name: metric.higher_is_better for metric in ALL} == {
        "accuracy": True,
        "macro_f1": True,
        "micro_f1": True,
        "matthews_correlation": True,
        "auroc": True,
        "calibration_error": False,
    }
    assert ExampleAccuracy.unit == "share of examples"
