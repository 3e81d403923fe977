"""Sentences: how many there are in a text, as one of the classes 1, 2, ... most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.data.examples import Collate, padded
from manyheads.data.fields import Fields
from manyheads.data.source import Source
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head
from manyheads.head.label import Label
from manyheads.metric.classification import ExampleAccuracy
from manyheads.metric.loss import Loss
from manyheads.metric.output import OutputMetric
from manyheads.task.base import Prediction
from manyheads.task.example import ExampleTask
from manyheads.tokenizer.base import Tokenizer


class CountError(OutputMetric):
    """The mean distance between the likeliest number and the true one."""

    name = "count_error"
    unit = "sentences"
    higher_is_better = False

    def score(self, outputs: Sequence[Any], targets: Sequence[Any]) -> float:
        found = self.each(outputs, targets)
        return float(np.mean(found)) if found else float("nan")

    def each(self, outputs: Sequence[Any], targets: Sequence[Any]) -> list[float]:
        return [float(abs(np.argmax(output) - target)) for output, target in zip(outputs, targets, strict=True)]


class Sentences(ExampleTask):
    """The column sentences is how many the column text has; more than `most` count as `most`.

    Args:
        source, tokenizer, seed, batch_size, eval_batch_size, num_workers, shuffle: see `ExampleTask`.
        max_tokens: of a text; the rest is left out.
        most: the largest number that is told apart.
    """

    heads = frozenset({"Label"})
    fields = Fields(("text",), ("sentences",))
    asked = Fields(("text",), optional=("sentences",))  # of a trained model
    metrics = (Loss,)
    output_metrics = (ExampleAccuracy, CountError)
    monitor = "val/count_error"
    columns = ("tokens",)

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        shuffle: bool = True,
        max_tokens: int = 128,
        most: int = 5,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size,
            num_workers=num_workers, shuffle=shuffle,
        )  # fmt: skip
        check_range("task.max_tokens", max_tokens, 1)
        check_range("task.most", most, 2)
        self.max_tokens = max_tokens
        self.most = most

    @property
    def recipe(self) -> list[Any]:
        """What `encode` depends on: with another, the cached examples are made anew."""
        return [self.max_tokens, self.most]

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        """The head has to know its classes; they become part of the run's config."""
        return {"head": {"labels": [str(number) for number in range(1, self.most + 1)]}}

    def encode(self, rows: Mapping[str, list[Any]]) -> Mapping[str, Sequence[Sequence[int]]]:
        ids = self.tokenizer.encode_batch([text or "" for text in rows["text"]])
        columns = {"tokens": [one[: self.max_tokens] or [self.tokenizer.end_id] for one in ids]}
        if "sentences" in rows:
            columns["class"] = [[number] for number in self.targets(rows)]
        return columns

    def targets(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        for count in rows["sentences"]:
            if not isinstance(count, int) or count < 1:
                raise UserError(f"data ({self.source.name}): sentences={count}: write a whole number of at least 1.")
        return [min(count, self.most) - 1 for count in rows["sentences"]]

    def collate(self, scoring: bool) -> Collate:
        return Batches(self.tokenizer.end_id)

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> list[list[float]]:
        """The probability of each number."""
        return cast(Label, head).probabilities(hidden, batch).tolist()

    def inputs(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        return list(rows["text"])

    def shown(self, output: Any) -> Any:
        """A number of sentences, of probabilities or of a target."""
        return (output if isinstance(output, int) else int(np.argmax(output))) + 1

    def details(self, output: Any) -> Prediction:
        return Prediction(probabilities={str(number): value for number, value in enumerate(output, 1)})

    def scorers(self) -> list[OutputMetric]:
        return [metric() for metric in self.output_metrics]


class Batches:
    """Examples to a batch; a class and no closure, so that a worker process can be given it."""

    def __init__(self, end_id: int) -> None:
        self.end_id = end_id

    def __call__(self, columns: dict[str, list[np.ndarray]]) -> Batch:
        ids, segments = padded(columns["tokens"], self.end_id)
        batch = Batch(input_ids=ids, num_tokens=torch.tensor(sum(map(len, columns["tokens"]))))
        if segments is not None:
            batch["segments"] = segments  # 1, and 0 on padding
        known = columns.get("class")
        batch["classes"] = torch.tensor([int(one[0]) for one in known]) if known else torch.full((len(ids),), IGNORE)
        return batch
