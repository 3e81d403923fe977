"""Tasks whose rows are examples, each with something to read and something to say about it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from manyheads.batch import Batch
from manyheads.data.cache import fingerprint
from manyheads.data.examples import Collate, ExampleRows
from manyheads.data.loader import ResumableLoader
from manyheads.data.ragged import ExampleStore, examples
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.data.source import SPLITS, Source
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head
from manyheads.metric.output import OutputMetric
from manyheads.task.base import Loader, Prediction, Scored, SplitSize, Task
from manyheads.tokenizer.base import Tokenizer


class ExampleTask(Task):
    """Rows to examples, kept in the cache as columns of token ids; examples of about one length to batches.

    A final class says how a row becomes an example (`encode`), how examples become a batch (`collate`), what is read
    from the network (`read`) and what it should be (`targets`).

    Args:
        source, tokenizer, seed: where rows come from, what makes tokens of them, what their order is made from.
        batch_size: examples in a training batch, per device.
        eval_batch_size: examples in a validation or test batch, per device; None: `batch_size`. No score depends on it.
        num_workers: processes that load training batches; 0: this one.
        shuffle: whether training examples are permuted in each epoch.
    """

    columns: Sequence[str]
    """Of tokens, whose lengths together are an example's."""

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        batch_size: int,
        eval_batch_size: int | None,
        num_workers: int,
        shuffle: bool,
    ) -> None:
        super().__init__()
        eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        check_range("seed", seed, 0)
        check_range("task.batch_size", batch_size, 1)
        check_range("task.eval_batch_size", eval_batch_size, 1)
        check_range("task.num_workers", num_workers, 0)
        self.source = source
        self.tokenizer = tokenizer
        self.seed = seed
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.shuffle = shuffle
        self.while_training = True
        self._stores: dict[str, ExampleStore] = {}

    @property
    @abstractmethod
    def recipe(self) -> list[Any]:
        """What `encode` depends on besides rows and tokenizer; numbers, texts and lists."""

    @abstractmethod
    def encode(self, rows: Mapping[str, list[Any]]) -> Mapping[str, Sequence[Sequence[int]]]:
        """The columns of the examples that some rows make; see `ragged.examples`. Raises UserError for a row that is
        none of the task's."""

    @abstractmethod
    def collate(self, scoring: bool) -> Collate:
        """What makes a batch of examples."""

    @abstractmethod
    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> Sequence[Any]:
        """The output of each row of a batch."""

    @abstractmethod
    def inputs(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        """What the network was given of some rows, for people."""

    @abstractmethod
    def targets(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        """What the outputs for some rows are held to."""

    def shown(self, output: Any) -> Any:
        """An output or a target as predictions have it."""
        return output

    @abstractmethod
    def scorers(self) -> Sequence[OutputMetric]:
        """The metrics of `output_metrics`, as they are computed here."""

    @property
    def outputs(self) -> ExampleTask:
        """The task itself reads them."""
        return self

    @property
    def summary(self) -> str:
        """How large batches and their rows are, in words."""
        longest = max(int(self._lengths("train").max(initial=0)), 1)
        return f"{self.batch_size} examples in a batch, of up to {longest} tokens"

    def store(self, split: str) -> ExampleStore:
        """The examples of a split, made when first asked for. Raises UserError when there is none."""
        if split not in self._stores:
            found = examples(self.source, split, [*self._key, *self.recipe], self.encode)
            if not len(found):
                raise UserError(
                    f"data ({self.source.name}): none of the {found.num_rows} rows of {split} is an example of the task. "
                    f"Set data with rows for {split}."
                )
            self._stores[split] = found
        return self._stores[split]

    @property
    def _key(self) -> list[Any]:
        return [type(self).__qualname__, self.tokenizer.fingerprint]

    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        """Makes the examples of the splits, unless they are cached. Raises UserError when one of them has none."""
        for split in splits:
            self.store(split)

    @property
    def notes(self) -> list[str]:
        """What the source says, and what `told` says of the splits that were read."""
        return [*self.source.notes, *(note for split in self._stores for note in self.told(split))]

    def told(self, split: str) -> list[str]:
        """Sentences for the screen about the examples of a split."""
        return []

    def describe(self) -> dict[str, SplitSize]:
        """The size of each split."""
        return {
            split: SplitSize(
                rows=self.store(split).num_rows,
                bytes=self.store(split).num_bytes,
                tokens=int(self._lengths(split).sum()),
            )
            for split in SPLITS
        }

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens of the training examples."""
        return int(self._lengths("train").sum())

    @property
    def made_of(self) -> str:
        """A fingerprint of the source, and of how examples are made and permuted."""
        settings = [*self._key, *self.recipe, self.shuffle, self.seed, len(self.store("train"))]
        return fingerprint("examples", self.source.fingerprint, settings)

    def training_loader(self) -> Loader:
        """Training batches of about one length, permuted anew in each epoch unless `shuffle` is false."""
        store = self.store("train")
        data = ExampleRows(store, self.collate(False), members=self.members("train"), scoring=False)
        rank, world = self._rank()
        if len(data) < world:
            raise UserError(
                f"trainer.devices: {world} devices, but train has only {len(data)} examples. Set fewer devices."
            )
        order = ResumableBatchSampler(
            len(data), self.batch_size, seed=self.seed, shuffle=self.shuffle, rank=rank, world=world,
            lengths=self.sizes("train")[data.members],
            micro_batches=self.trainer.accumulate_grad_batches if self.trainer else 1,
        )  # fmt: skip
        return ResumableLoader(data, order, num_workers=self.num_workers, pin=self._pin(), made_of=self.made_of)

    def members(self, split: str) -> NDArray[np.int64]:
        """The examples that are trained on, or scored: all."""
        return np.arange(len(self.store(split)))

    def sizes(self, split: str) -> NDArray[np.int64]:
        """[N] what training examples are put beside each other by, so that they need little padding: their tokens."""
        return self._lengths(split)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches: every example once, in an order that does not change."""
        return self._scoring("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches: every example once, in an order that does not change."""
        return self._scoring("test")

    def _scoring(self, split: str) -> DataLoader[Batch]:
        members = self.members(split)
        longest_first = members[np.argsort(-self._lengths(split)[members], kind="stable")]
        data = ExampleRows(self.store(split), self.collate(True), members=longest_first, scoring=True)
        rank, world = self._rank()
        order = ResumableBatchSampler(
            len(data), self.eval_batch_size, seed=self.seed, shuffle=False, rank=rank, world=world
        )
        return ResumableLoader(data, order, pin=self._pin())

    def _lengths(self, split: str) -> NDArray[np.int64]:
        """[N] tokens of each example."""
        store = self.store(split)
        return np.sum([store[column].lengths for column in self.columns], axis=0)

    def scores(self, split: str, outputs: Mapping[int, Any]) -> dict[str, float]:
        """The scores of a split, given the outputs of its examples."""
        chosen, targets = self._held_to(split, outputs)
        found = [outputs[example] for example in chosen]
        scorers = self.scorers()
        scores = {metric.name: metric.score(found, targets) for metric in scorers}
        self.signatures[split] = {metric.name: metric.signature for metric in scorers if metric.signature}
        return scores

    def _held_to(self, split: str, outputs: Mapping[int, Any]) -> tuple[list[int], list[Any]]:
        """The examples in order, and the target of each."""
        chosen = sorted(outputs)
        rows = self.source.rows(split)[self.store(split).rows[chosen].tolist()] if chosen else {}
        return chosen, self.targets(rows) if chosen else []

    def predictions(self, scored: Scored) -> Iterator[Prediction]:
        """One line per example of the test split, in order."""
        chosen, targets = self._held_to("test", scored.outputs)
        outputs = [scored.outputs[example] for example in chosen]
        each = {metric.name: metric.each(outputs, targets) for metric in self.scorers()}
        kept = {name: values for name, values in each.items() if values is not None}
        rows = self.source.rows("test")[self.store("test").rows[chosen].tolist()] if chosen else {}
        inputs = self.inputs(rows) if chosen else []
        for place, example in enumerate(chosen):
            line = Prediction(
                id=int(self.store("test").rows[example]),
                input=inputs[place],
                target=self.shown(targets[place]),
                output=self.shown(outputs[place]),
                score={name: values[place] for name, values in kept.items()},
            )
            if example in scored.loss:
                line["loss"] = scored.loss[example]
            yield line
