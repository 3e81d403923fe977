"""What the two forms of question answering share: the schema of the rows, gold answers, scores and baselines."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping
from typing import Any

from manyheads.baseline.base import Baseline, Scores
from manyheads.baseline.qa import answerers
from manyheads.data.source import SPLITS
from manyheads.metric.output import OutputMetric
from manyheads.metric.squad2 import UsedThreshold
from manyheads.task import answers
from manyheads.task.example import ExampleTask


class Questions(ExampleTask, ABC):
    """Questions about a context, whose answers may be missing where `unanswerable` is true.

    A form sets `threshold`, the probability of no answer above which nothing is answered.
    """

    fields = answers.FIELDS
    asked = answers.ASKED
    output_metrics = answers.SCORES
    unanswerable: bool
    threshold: float

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        return {"task": {"unanswerable": self.unanswerable}}

    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        """Makes the examples of the splits. Raises UserError when train has no answer."""
        splits = list(splits)
        if "train" in splits:
            answers.check_has_answers(self.source)
        super().prepare(splits)

    def inputs(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        """Each question, its context and, where there is one, its id."""
        return answers.inputs_of(rows)

    def targets(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        """The texts of all gold answers."""
        return [[gold.text for gold in golds] for golds in answers.golds_of(rows, self.unanswerable)]

    def scorers(self) -> list[OutputMetric]:
        return answers.scorers_of(self.unanswerable, self.threshold)

    @property
    def rules(self) -> Mapping[str, Baseline]:
        return answerers(unanswerable=self.unanswerable)

    def baselines(self, split: str) -> Scores:
        """The scores of `rules` on the rows of a split; none of them has a threshold, for they are always sure."""
        found = super().baselines(split)
        return {
            rule: {name: score for name, score in scores.items() if name != UsedThreshold.name}
            for rule, scores in found.items()
        }
