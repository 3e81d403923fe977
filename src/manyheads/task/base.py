"""What a task is: the data side of a run, and how it is scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypedDict, final

import pytorch_lightning as pl
import torch
from torch import nn

from manyheads.data.fields import TEXT, Fields
from manyheads.data.loader import ResumableLoader
from manyheads.data.source import SPLITS, Source
from manyheads.data.stream_loader import StreamLoader
from manyheads.data.turns import TurnsLoader
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.metric.base import Metric
from manyheads.metric.output import OutputMetric, OutputReader
from manyheads.tokenizer.base import Tokenizer


class SplitSize(TypedDict):
    """How large a split is."""

    rows: int  # as the data has them
    bytes: int  # of raw text in UTF-8
    tokens: int  # labels, the ends of texts included


Loader = ResumableLoader | StreamLoader | TurnsLoader
"""What training batches come from: it has a place that can be saved."""


class Prediction(TypedDict, total=False):
    """One line of predictions/test.jsonl: what became of an example of the test split."""

    member: str  # of a mixture, the task that the line is of
    id: int  # the example's number in the split, from 0; of texts, those that are empty are not counted
    loss: float  # sum in nats
    losses: list[float]  # of each reply of a dialogue, in nats; `loss` is their sum
    tokens: int  # labels that the sum is over
    bytes: int  # of raw text in UTF-8
    bits_per_byte: float
    input: Any  # what the network was given, as text or by field
    target: Any  # what it should have said
    output: Any  # what it said
    probabilities: dict[str, float]  # of each class, of a task that has classes
    masks: list[
        list[dict[str, Any]]
    ]  # of each mask of the input the likeliest tokens: {"token": text, "probability": p}
    neighbours: list[dict[str, Any]]  # of a text the words nearest to it: {"word": text, "similarity": cosine}
    score: dict[str, float]  # of this example, by the names of the metrics that score examples


class Shown(NamedTuple):
    """A text that is written anew at each validation."""

    prompt: str  # as it is shown
    ids: list[int]  # what the network goes on from
    source: list[int] | None = None  # what an encoder reads
    ends: frozenset[int] = frozenset()  # tokens that end it, besides the end of a text
    member: str | None = None  # of a mixture, the task whose head writes it


class Scored(NamedTuple):
    """What a split was found to be worth."""

    loss: Mapping[int, float]  # each example's sum of losses, in nats
    labels: Mapping[int, int]  # that it is over, how many
    outputs: Mapping[int, Any]  # what was read for each example, by a task that reads outputs
    stretch_loss: Mapping[
        int, float
    ] = {}  # the same sums by the stretch of its text that a label is in (metric/stretches.py)
    stretch_labels: Mapping[int, int] = {}


class Task(pl.LightningDataModule, ABC):
    """Turns rows into batches for train, validation and test, and says what a network's answers are worth.

    `heads` names the classes of heads that it can use, `refuses` the kinds of networks that its batches are nothing for,
    each with the reason, `fields` the columns of its rows, `metrics` what scores losses and `output_metrics` what scores
    outputs, `monitor` the score of validation that picks the best weights. Its state in a checkpoint is where training
    stands within an epoch.
    """

    heads: ClassVar[frozenset[str]]
    refuses: ClassVar[Mapping[str, str]] = {}
    fields: ClassVar[Fields] = TEXT
    asked: ClassVar[Fields] = TEXT  # those that are there when something is asked of a trained model
    metrics: tuple[
        type[Metric], ...
    ]  # like output_metrics of the class all that it may score; of a task what its data has
    output_metrics: tuple[type[OutputMetric], ...] = ()
    monitor: ClassVar[str]
    hint: ClassVar[str | None] = None  # the verb to try first with a trained model, {run} for its folder; None: predict
    source: Source
    tokenizer: Tokenizer

    def __init__(self) -> None:
        super().__init__()
        # with more ranks than batches, some ranks have nothing to score
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.signatures: dict[str, dict[str, str]] = {}  # of each split that was scored: how, by the names of metrics
        self._loader: Loader | None = None
        self._place: dict[str, Any] = {}
        self.answer_notes: list[str] = []
        """Sentences about the rows that `answers` was asked last."""

    @final
    def train_dataloader(self) -> Loader:
        """Training batches, from the place on that was loaded, if one was."""
        self._loader = self.training_loader()
        if self._place:
            self._loader.load_state_dict(self._place)
            self._place = {}
        return self._loader

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """As Lightning does; on a CPU a batch is there already, and looking through it costs time at every step."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    @final
    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch that was trained on. To be saved when no gradients are pending."""
        return {} if self._loader is None else self._loader.state_dict()

    @final
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the place for the next `train_dataloader`.

        Lightning gives a loader its own state back too, but only after it has asked for its length; and that depends on
        the place when the batch size is not the one of before.
        """
        self._place = dict(state_dict)

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        """Settings that only the data tells, by group (task, head): they become part of the run's config."""
        return {}

    @property
    def outputs(self) -> OutputReader | None:
        """What reads outputs from the network; None: losses say all."""
        return None

    def watch(self, monitor: str) -> None:
        """Is told which score of validation picks the best weights, before training."""

    def check_positions(self, most: int) -> None:
        """Raises UserError when its settings allow rows that take more than the positions of a network. What `seq_len` and
        `max_tokens` alone limit is checked before there is a task."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """How large batches and their rows are, in words."""

    @property
    def made_of(self) -> str | None:
        """A fingerprint of the training rows and their order, whatever the batch size; None: nobody knows."""
        return None

    @abstractmethod
    def training_loader(self) -> Loader:
        """Training batches from the first epoch's start on."""

    @abstractmethod
    def val_dataloader(self) -> Any:
        """Validation batches: every label once, in an order that does not change."""

    @abstractmethod
    def test_dataloader(self) -> Any:
        """Test batches: every label once, in an order that does not change."""

    @property
    @abstractmethod
    def notes(self) -> list[str]:
        """Sentences for the screen: what the user should know about the data."""

    @property
    def closing_notes(self) -> list[str]:
        """Sentences for the screen after training: what came of the data."""
        return []

    def of_split(self, split: str, scored: Scored) -> dict[str, float]:
        """Scores of a split that no batch of it has, once it was scored; none here."""
        return {}

    def by_source(self, split: str, scored: Scored) -> dict[str, float]:
        """Scores `<metric>/<part>` of a split that several sources or directions make up; none of a single one."""
        return {}

    @property
    @abstractmethod
    def tokens_per_epoch(self) -> int | None:
        """Labels of the training split; None: it is a stream, and nobody knows."""

    @abstractmethod
    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        """Makes what the splits need, unless it is cached. Raises UserError when a split has nothing to learn or score."""

    @abstractmethod
    def describe(self) -> dict[str, SplitSize]:
        """The size of each split, but of one that is a stream."""

    def baselines(self, split: str) -> Mapping[str, Mapping[str, float]]:
        """What simple rules score on a split, by the names of the metrics; each is fitted on train alone. None here."""
        return {}

    def prompts(self, count: int) -> list[Shown]:
        """What samples are written from, of the validation split: the same ones every time; none where nothing is written."""
        return []

    def of(self, member: str | None) -> Task:
        """The member of that name of a mixture; a single task is its own."""
        return self

    def question(self, text: str) -> list[int]:
        """The tokens of a text of the user's, for a sample to be written from."""
        return self.tokenizer.encode(text)

    @abstractmethod
    def predictions(self, scored: Scored) -> Iterable[Prediction]:
        """One line per example of the test split, in order."""

    @property
    def first_try(self) -> str | None:
        """The verb to try first with a trained model; {run} stands for run=FOLDER. None: there is none but eval."""
        if self.hint is None and type(self).answers is Task.answers:
            return None
        fields = self.asked.required
        asked = " ".join(f"input.{field}=..." for field in fields) if fields == self.asked.texts else "input=rows.jsonl"
        return self.hint or f"predict {{run}} {asked}"

    def answers(self, network: nn.Module, head: Head) -> Iterator[Prediction]:
        """What a trained network says of each row of the test split, whose targets may be missing: a line for each, in order.

        Raises UserError for a task that cannot be asked of new rows.
        """
        raise UserError(
            f"predict: {type(self).__name__}, the task of this run, answers no new rows. Score them with eval."
        )

    def pages(self, scored: Scored) -> Mapping[str, Callable[[Path], None]]:
        """Pages of HTML about the test split, by name: what writes each to a path. None here."""
        return {}

    def _rank(self) -> tuple[int, int]:
        """This process's number among those that read different rows, and how many do."""
        place = (self.trainer.distributed_sampler_kwargs if self.trainer else None) or {"rank": 0, "num_replicas": 1}
        return place["rank"], place["num_replicas"]

    def _pin(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
