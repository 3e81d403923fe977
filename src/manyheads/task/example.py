"""Tasks whose rows are examples, each with something to read and something to say about it."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from manyheads.baseline.base import TRAIN_ROWS, VERSION, Baseline, Scores, evenly, kept
from manyheads.batch import Batch
from manyheads.data.cache import fingerprint
from manyheads.data.examples import Collate, ExampleRows, Redraw
from manyheads.data.loader import ResumableLoader
from manyheads.data.ragged import ExampleStore, examples, write
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.data.source import SPLITS, Source
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head
from manyheads.metric.output import OutputMetric
from manyheads.task.answering import answers, lines
from manyheads.task.base import Loader, Prediction, Scored, SplitSize, Task
from manyheads.tokenizer.base import Tokenizer


class ExampleTask(Task):
    """Rows to examples, kept in the cache as columns of token ids; examples of about one length to batches.

    A final class says how a row becomes an example (`encode`), how examples become a batch (`collate`), what is read
    from the network (`read`) and what it should be (`targets`).

    Args:
        source: where rows come from.
        tokenizer: makes tokens of them.
        seed: what the order of the training examples is made from.
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
        self.redraw: Redraw | None = None  # makes other tokens of training examples by chance
        self._compared = False
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

    def details(self, output: Any) -> Prediction:
        """What else a prediction says of an output."""
        return Prediction()

    @property
    def rules(self) -> Mapping[str, Baseline]:
        """The baselines by name; of rows they read `inputs` and `targets`."""
        return {}

    @property
    def closing_notes(self) -> list[str]:
        """On how many rows baselines were fitted, where those were not all."""
        rows = self.store("train").num_rows
        if not self._compared or rows <= TRAIN_ROWS:
            return []
        return [f"baselines were fitted on {TRAIN_ROWS:,} of the {rows:,} rows of train, evenly apart"]

    @property
    def outputs(self) -> ExampleTask:
        """The task itself reads them."""
        return self

    @property
    def summary(self) -> str:
        """How large batches and their rows are, in words."""
        longest = max(int(self.lengths("train").max(initial=0)), 1)
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
                tokens=int(self.lengths(split).sum()),
            )
            for split in SPLITS
        }

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens of the training examples."""
        return int(self.lengths("train").sum())

    @property
    def made_of(self) -> str:
        """A fingerprint of the source, and of how examples are made and permuted."""
        settings = [*self._key, *self.recipe, self.shuffle, self.seed, len(self.store("train"))]
        return fingerprint("examples", self.source.fingerprint, settings)

    def training_loader(self) -> Loader:
        """Training batches of about one length, permuted anew in each epoch unless `shuffle` is false."""
        store = self.store("train")
        given = {"members": self.members("train"), "redraw": self.redraw, "seed": self.seed}
        data = ExampleRows(store, self.collate(False), scoring=False, **given)
        rank, world = self._rank()
        if len(data) < world:
            raise UserError(
                f"trainer.devices: {world} devices, but train has only {len(data)} examples. Set fewer devices."
            )
        order = ResumableBatchSampler(
            len(data), self.batch_size, seed=self.seed, shuffle=self.shuffle, rank=rank, world=world,
            lengths=self.sizes("train")[data.members],
            micro_batches=self.trainer.accumulate_grad_batches if self.trainer else 1,
            numbers_per_epoch=0 if self.redraw is None else len(data),
        )  # fmt: skip
        return ResumableLoader(data, order, num_workers=self.num_workers, pin=self._pin(), made_of=self.made_of)

    def members(self, split: str) -> NDArray[np.int64]:
        """The examples that are trained on, or scored: all."""
        return np.arange(len(self.store(split)))

    def sizes(self, split: str) -> NDArray[np.int64]:
        """[N] what training examples are put beside each other by, so that they need little padding: their tokens."""
        return self.lengths(split)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches: every example once, in an order that does not change."""
        return self._scoring("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches: every example once, in an order that does not change."""
        return self._scoring("test")

    def _scoring(self, split: str) -> DataLoader[Batch]:
        members = self.members(split)
        longest_first = members[np.argsort(-self.lengths(split)[members], kind="stable")]
        data = ExampleRows(self.store(split), self.collate(True), members=longest_first, scoring=True)
        rank, world = self._rank()
        order = ResumableBatchSampler(
            len(data), self.eval_batch_size, seed=self.seed, shuffle=False, rank=rank, world=world
        )
        return ResumableLoader(data, order, pin=self._pin())

    def lengths(self, split: str) -> NDArray[np.int64]:
        """[N] tokens of each example."""
        store = self.store(split)
        return np.sum([store[column].lengths for column in self.columns], axis=0)

    def joined(self, split: str, outputs: Mapping[int, Any]) -> Mapping[int, Any]:
        """The output of each row of a split, by its number, given those of its examples; here a row is one example."""
        rows = self.store(split).rows
        return {int(rows[example]): output for example, output in outputs.items()}

    def scores(self, split: str, outputs: Mapping[int, Any]) -> dict[str, float]:
        """The scores of a split, given the outputs of its examples."""
        found = self.joined(split, outputs)
        chosen, targets = self.held_to(split, found)
        scorers = self.scorers()
        scores = {metric.name: metric.score([found[row] for row in chosen], targets) for metric in scorers}
        self.signatures[split] = {metric.name: metric.signature for metric in scorers if metric.signature}
        return scores

    def baselines(self, split: str) -> Scores:
        """The scores of `rules` on the rows of a split, computed once for all runs on the same rows."""
        if not self.rules:
            return {}
        self._compared = True
        names = [list(self.rules), [metric.name for metric in self.scorers()]]
        key = [VERSION, type(self).__qualname__, self.recipe, self.source.fingerprint, self.source.fields, split, names]
        return kept(fingerprint(key), lambda: self._ruled(split))

    def _ruled(self, split: str) -> Scores:
        train, held = self._all_rows("train", TRAIN_ROWS), self._all_rows(split)
        given, asked = (self.inputs(train), self.targets(train)), self.inputs(held)
        fitted = {name: rule(*given) for name, rule in self.rules.items()}
        targets, scorers = self.targets(held), self.scorers()
        answers = {name: rule(asked) for name, rule in fitted.items()}
        return {
            name: {metric.name: metric.score(found, targets) for metric in scorers} for name, found in answers.items()
        }

    def _all_rows(self, split: str, most: int | None = None) -> Mapping[str, list[Any]]:
        """The rows of which there are examples, each once; or `most` of them, evenly apart."""
        numbers = np.unique(self.store(split).rows)
        chosen = numbers if most is None else numbers[evenly(len(numbers), most)]
        return self.source.rows(split)[chosen.tolist()]

    def held_to(self, split: str, found: Mapping[int, Any]) -> tuple[list[int], list[Any]]:
        """The rows of which there are outputs in order, and the target of each; no targets where the rows say none."""
        chosen = sorted(found)
        if not chosen or not set(self.fields.required) <= set(self.source.rows(split).column_names):
            return chosen, []
        return chosen, self.targets(self.source.rows(split)[chosen])

    def answers(self, network: nn.Module, head: Head) -> Iterator[Prediction]:
        """What a trained network says of each row of the test split, whose targets may be missing: a line for each, in order."""
        with tempfile.TemporaryDirectory(prefix="manyheads-") as folder:  # nobody asks of the same rows again
            write(Path(folder), source=self.source, split="test", encode=self.encode)
            self._stores["test"] = ExampleStore(Path(folder))
            yield from answers(self, network, head)
            self.answer_notes = [note.replace(" of test ", " of the input ") for note in self.told("test")]
            del self._stores["test"]

    def predictions(self, scored: Scored) -> Iterator[Prediction]:
        """One line per row of the test split, in order; without target and score where the rows say none."""
        return lines(self, scored)
