"""Scores of classes: how often they are right, for each class alike, against chance, in their order, and as probabilities.

In this file an output is a sequence of C probabilities, C >= 2, and a target either the index of a class, when each
example has one, or a sequence of C zeros and ones, when it may have several. One class is predicted, the likeliest (the
first of several that are as likely); of several classes those above 0.5 are.

    N  examples        C  classes
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_confusion_matrix

from manyheads.metric.output import OutputMetric
from manyheads.metric.texts import mean

Outputs = Sequence[Sequence[float]]
Targets = Sequence[int] | Sequence[Sequence[int]]


class ExampleAccuracy(OutputMetric):
    """Examples whose class is right / all examples; where there are several classes, all of them have to be right."""

    name = "accuracy"
    unit = "share of examples"
    higher_is_better = True

    def score(self, outputs: Outputs, targets: Targets) -> float:
        """From 0 to 1; nan without examples."""
        return mean(self.each(outputs, targets))

    def each(self, outputs: Outputs, targets: Targets) -> list[float]:
        """1 or 0."""
        if not outputs:
            return []
        predicted, true = _hot(outputs, targets)
        return (predicted == true).all(dim=1).double().tolist()


class MacroF1(OutputMetric):
    """The mean over the classes of F1 = 2 TP / (2 TP + FP + FN), so that a rare class counts as much as a frequent one.

    A class that is neither predicted nor true anywhere is left out where each example has one class, and has F1 = 0 where
    it may have several: scikit-learn's `f1_score(average="macro")` with `zero_division=0`.

    Source: Opitz, Burst, "Macro F1 and Macro F1", 2019: their averaged F1.
    """

    name = "macro_f1"
    unit = "F1, 0 to 1"
    higher_is_better = True

    def score(self, outputs: Outputs, targets: Targets) -> float:
        """From 0 to 1; nan without examples."""
        if not outputs:
            return math.nan
        predicted, true = _hot(outputs, targets)
        hits, said = (predicted & true).sum(dim=0), predicted.sum(dim=0) + true.sum(dim=0)  # [C]
        counted = said >= (1 if _one_class(targets) else 0)
        return float((2 * hits.double() / said.clamp(min=1))[counted].mean())


class MicroF1(OutputMetric):
    """F1 from the counts of all classes together; where each example has one class, it is the accuracy."""

    name = "micro_f1"
    unit = "F1, 0 to 1"
    higher_is_better = True

    def score(self, outputs: Outputs, targets: Targets) -> float:
        """From 0 to 1; 0 when no class is predicted or true; nan without examples."""
        if not outputs:
            return math.nan
        predicted, true = _hot(outputs, targets)
        said = int(predicted.sum() + true.sum())
        return 2 * int((predicted & true).sum()) / max(said, 1)


class OfOneClass(OutputMetric):
    """A score of examples that have one class each."""


class MatthewsCorrelation(OfOneClass):
    """Correlation of the predicted and the true class; 0 is chance, whatever the shares of the classes. One class each.

    Source: Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004, from the
    confusion matrix, in the form that scikit-learn's user guide gives. torchmetrics has other values where it is not
    defined, which is where one class alone is predicted or true.
    """

    name = "matthews_correlation"
    unit = "correlation, -1 to 1"
    higher_is_better = True

    def score(self, outputs: Outputs, targets: Sequence[int]) -> float:
        """From -1 to 1; 0 when all predictions, or all targets, are of one class; nan without examples."""
        if not outputs:
            return math.nan
        counts = confusion_matrix(outputs, targets)
        total, right = int(counts.sum()), int(counts.trace())
        true, predicted = counts.sum(dim=1).tolist(), counts.sum(dim=0).tolist()
        # in whole numbers, which do not round
        together = right * total - sum(t * p for t, p in zip(true, predicted, strict=True))
        spread = (total**2 - sum(t * t for t in true)) * (total**2 - sum(p * p for p in predicted))
        return together / math.sqrt(spread) if spread else 0.0


class Auroc(OutputMetric):
    """Probability that an example of a class has a higher score for it than one that is not; ties count one half.

    The mean over the classes, each against the rest; a class that no example has, or every example, is left out, since
    it has no pairs to compare. Of two classes it is the usual AUROC.

    Source: Fawcett, "An introduction to ROC analysis", 2006, sections 7 and 9.
    """

    name = "auroc"
    unit = "area, 0 to 1"
    higher_is_better = True

    def score(self, outputs: Outputs, targets: Targets) -> float:
        """From 0 to 1; nan when no class has examples for and against it."""
        if not outputs:
            return math.nan
        scores, true = _probabilities(outputs), _true(targets, len(outputs[0]))
        mixed = true.any(dim=0) & ~true.all(dim=0)
        return mean(float(binary_auroc(scores[:, c], true[:, c].int())) for c in mixed.nonzero().flatten().tolist())


class CalibrationError(OfOneClass):
    """Expected calibration error: how far the highest probability is from the share that is right. One class each.

    Examples fall into equal bins of that probability, each with its upper edge and without its lower one; the gap of each
    bin counts by its share of the examples.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3, with 15 bins as in their table 1.
    torchmetrics gives the edges to the other bin.

    Args:
        bins: how many.
    """

    name = "calibration_error"
    unit = "probability"
    higher_is_better = False

    def __init__(self, bins: int = 15) -> None:
        self.bins = bins

    def score(self, outputs: Outputs, targets: Sequence[int]) -> float:
        """From 0 to 1; nan without examples."""
        if not outputs:
            return math.nan
        assert _one_class(targets), "a calibration error is of one class for each example"
        confidence, predicted = _probabilities(outputs).max(dim=1)
        gaps = confidence - (predicted == torch.tensor(targets)).double()
        inner = torch.linspace(0, 1, self.bins + 1, dtype=torch.float64)[1:-1]
        sums = torch.zeros(self.bins, dtype=torch.float64)
        sums.index_add_(0, torch.bucketize(confidence, inner), gaps)
        return float(sums.abs().sum() / len(outputs))


def confusion_matrix(outputs: Outputs, targets: Sequence[int]) -> Tensor:
    """Counts of examples, [C, C] int64: a row for each true class, a column for each predicted one."""
    assert _one_class(targets), "a confusion matrix is of one class for each example"
    probabilities = _probabilities(outputs)
    predicted = probabilities.argmax(dim=1)
    return multiclass_confusion_matrix(predicted, torch.tensor(targets), num_classes=probabilities.shape[1])


def _hot(outputs: Outputs, targets: Targets) -> tuple[Tensor, Tensor]:
    """Predicted and true classes, both [N, C] bool."""
    probabilities = _probabilities(outputs)
    true = _true(targets, probabilities.shape[1])
    if _one_class(targets):
        return _one_hot(probabilities.argmax(dim=1), probabilities.shape[1]), true
    return probabilities > 0.5, true


def _true(targets: Targets, num_classes: int) -> Tensor:
    """[N, C] bool."""
    given = torch.as_tensor(np.asarray(targets)).long()
    return _one_hot(given, num_classes) if _one_class(targets) else given.bool()


def _one_hot(classes: Tensor, num_classes: int) -> Tensor:
    return torch.nn.functional.one_hot(classes, num_classes).bool()


def _one_class(targets: Targets) -> bool:
    """Whether targets are indices of classes."""
    return np.ndim(targets[0]) == 0


def _probabilities(outputs: Outputs) -> Tensor:
    """[N, C] float64."""
    return torch.as_tensor(np.asarray(outputs, dtype=np.float64))
