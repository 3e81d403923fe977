"""ScoredLM: the half of LM that evaluation needs. It adds up losses and reads outputs, over all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from manyheads import ranks, sharded
from manyheads.batch import NO_EXAMPLE, Batch
from manyheads.head.base import Head, HeadOutput
from manyheads.metric.base import Metric
from manyheads.metric.output import OutputReader
from manyheads.metric.stretches import stretches_of
from manyheads.metric.sums import ExampleSums


class ScoredLM(pl.LightningModule):
    """Scores a network with a head.

    Attributes:
        examples: each example's sum of losses, of the split that was scored last outside of training.
        stretches: each stretch's sum of losses, of that split: what labels at about the same place of their texts cost. None
            of a mixture's, nor of heads that have no label at each position.
        outputs: what was read for each example of that split.
        scores: the newest value of each `val/<name>` and `test/<name>`.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        head: Head,
        metrics: Sequence[type[Metric]],
        outputs: OutputReader | None = None,
    ) -> None:
        """`outputs` reads more from the network than losses."""
        super().__init__()
        self.network = network
        self.head = head
        self.val_metrics = nn.ModuleDict({metric.name: metric() for metric in metrics})
        self.test_metrics = nn.ModuleDict({metric.name: metric() for metric in metrics})
        self.examples, self.stretches = ExampleSums(), ExampleSums()
        self.reader = outputs
        self.outputs: dict[int, Any] = {}
        self.scores: dict[str, float] = {}
        self._keeps_validation = False  # in training they would only cost time
        self._reads = False

    def forward(self, batch: Batch) -> HeadOutput:
        """The sum of the losses and their count."""
        return self.head(self.network(batch), batch)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Adds the batch to the validation metrics; outside of training, also each example's losses to its own sum."""
        self._score(batch, self.val_metrics, keep=self._keeps_validation)

    def on_validation_epoch_start(self) -> None:
        """Forgets what an earlier scoring left."""
        self._keeps_validation = self.trainer.state.fn == TrainerFn.VALIDATING
        self._begin(self._keeps_validation or (self.reader is not None and self.reader.while_training))

    def on_validation_epoch_end(self) -> None:
        """Makes `val/<name>` known to loggers and callbacks."""
        self._end("val", "validation", self.val_metrics, gather=self._keeps_validation)

    def on_test_epoch_start(self) -> None:
        """Forgets what an earlier test left."""
        self._begin(True)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Adds the batch to the test metrics and each example's losses to its own sum."""
        self._score(batch, self.test_metrics, keep=True)

    def on_test_epoch_end(self) -> None:
        """Makes `test/<name>` known."""
        self._end("test", "test", self.test_metrics, gather=True)

    def _score(self, batch: Batch, metrics: nn.ModuleDict, *, keep: bool) -> None:
        """Adds the batch to `metrics`, the losses of each example to its own sum if they are kept, and its outputs to
        those that are read.

        Added up in float64, so that the sum over a split does not depend on how it was cut into batches.
        """
        hidden = self.network(batch)
        losses, correct = self.head.scores(hidden, batch)
        learned = self.head.learned(batch)
        _update(metrics, HeadOutput(losses.sum(dtype=torch.float64), learned.sum(), correct.sum()), batch)
        if keep and "examples" in batch:
            examples = batch["examples"]
            examples = examples if examples.ndim == losses.ndim else examples[:, None].expand_as(losses)
            self.examples.add(examples[learned], losses[learned])
            if losses.shape == batch["input_ids"].shape and "member" not in batch:
                self.stretches.add(stretches_of(batch)[learned], losses[learned])
        if self.reader is not None and self._reads:
            with sharded.gathered(self):  # ranks read their rows with networks of their own, at their own pace
                read = self.reader.read(self.network, self.head, batch, hidden)
            if read is not None:
                pairs = zip(batch["examples"].tolist(), read, strict=True)
                self.outputs.update((example, output) for example, output in pairs if example != NO_EXAMPLE)

    def _begin(self, reads: bool) -> None:
        """Forgets what an earlier scoring left."""
        self.examples, self.stretches, self.outputs, self._reads = ExampleSums(), ExampleSums(), {}, reads

    def _end(self, stage: str, split: str, metrics: nn.ModuleDict, *, gather: bool) -> None:
        """Makes `<stage>/<name>` known, over all ranks."""
        if gather:
            self.examples.gather()
            self.stretches.gather()
        self._publish(stage, metrics)
        if self.reader is not None and self._reads:
            parts = ranks.gathered(self.outputs)
            self.outputs = {example: part[example] for part in parts for example in part}
            for name, value in self.reader.scores(split, self.outputs).items():
                self._log_score(f"{stage}/{name}", value)

    def _publish(self, stage: str, metrics: nn.ModuleDict) -> None:
        for name, metric in metrics.items():
            assert isinstance(metric, Metric)
            metric.process_group = ranks.data_parallel()
            self._log_score(f"{stage}/{name}", metric.compute())
            metric.reset()

    def _log_score(self, name: str, value: Tensor | float) -> None:
        self.scores[name] = float(value)  # Lightning keeps what it logs in float32
        self.log(name, value, logger=False)


def _update(metrics: nn.ModuleDict, output: HeadOutput, batch: Batch) -> None:
    for metric in metrics.values():
        assert isinstance(metric, Metric)
        metric.update(output, batch)
