"""Generation: learn to continue text, token by token."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from manyheads.baseline.base import Scores
from manyheads.baseline.generation import generators
from manyheads.batch import Batch
from manyheads.data.concatenated import ConcatenatedStore
from manyheads.data.lanes import LaneRows, LaneSampler, Layout, equal_lanes, whole_documents
from manyheads.data.loader import ResumableLoader
from manyheads.data.packing import Segments, cut
from manyheads.data.source import Source
from manyheads.data.store import TokenStore
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.metric.perplexity import Perplexity, WordPerplexity
from manyheads.metric.stretches import bounds, labels_within, scored_stretches, write_stretches
from manyheads.task.answering import text_losses
from manyheads.task.base import Loader, Prediction, Scored, Shown
from manyheads.task.text_rows import TextRows
from manyheads.tokenizer.base import Tokenizer

PROMPT_CHARACTERS = 32


@final
class Generation(TextRows):
    """Language modelling on the texts of a source.

    Each text is preceded by the tokenizer's end-of-text token and followed by it; the end is a label too. Texts longer
    than a row are cut from their own start; no row sees across the border of a text. Raises UserError.

    Args:
        source: where the texts come from.
        tokenizer: makes tokens of them.
        seed: what the order of the training rows is made from.
        batch_size: rows in a training batch, per device.
        eval_batch_size: rows in a validation or test batch, per device; None: `batch_size`. No score depends on it.
        seq_len: tokens in a row, at most.
        pack: puts several short pieces of text into one training row. If false, each piece is a row, padded, and a batch
            has rows of about one length (but where sources are mixed, whose shares hold in every part of an epoch).
            Scoring never packs.
        num_workers: processes that load training batches; 0: this one.
        stride: tokens between the beginnings of windows when scoring; None: `seq_len`, no overlap. A smaller one gives
            each label more context, and takes longer.
        shuffle: whether training rows are permuted in each epoch.
        carry: rows go on where those of the batch before have ended, with the state that a recurrent network has there:
            training texts, permuted anew in each epoch, follow on each other in as many lanes of one length as an optimizer
            step has rows. Gradients end at a row's beginning, and states at that of a text. Scoring has each text whole in
            one lane, so that no score depends on `seq_len`.
        by_place: scoring the test split leaves a page and a csv of how the loss goes by the place in a row, or in a text
            where rows go on: predictions/by_place.html and .csv.
    """

    heads = frozenset({"NextToken"})
    refuses: ClassVar[Mapping[str, str]] = {"encoder-decoder": "a text alone leaves its encoder nothing to read"}
    metrics = (Loss, Perplexity, BitsPerByte, Accuracy)
    output_metrics = (WordPerplexity,)
    monitor = "val/bits_per_byte"
    hint: ClassVar[str | None] = 'generate {run} "The function returns"'

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        seq_len: int = 256,
        pack: bool = True,
        num_workers: int = 0,
        stride: int | None = None,
        shuffle: bool = True,
        carry: bool = False,
        by_place: bool = False,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size,
            seq_len=seq_len, pack=pack, num_workers=num_workers, shuffle=shuffle, stride=stride,
        )  # fmt: skip
        self.carry, self.by_place = carry, by_place
        self._words: dict[str, int] = {}
        self._lanes_before: int | None = None  # of a checkpoint with other lanes, whose epoch begins anew
        if carry:
            self._check_carry()

    def _check_carry(self) -> None:
        """Raises UserError for settings that have no meaning where rows go on."""
        asks = "task.carry=true lays texts one after the other in lanes,"
        if self.source.stream() is not None:
            raise UserError(f"data.streaming=true: {asks} and has to know how long they are. Set data.streaming=false.")
        if self.stride is not None:
            raise UserError(
                f"task.stride={self.stride}: {asks} where each label has its whole text before it. Leave it out."
            )
        if not self.pack:
            raise UserError(f"task.pack=false: {asks} which fills each row. Set task.pack=true.")
        if self.source.weights is not None:
            raise UserError(f"data.weights: {asks} each once in an epoch. Set data.weights=null.")

    @property
    def summary(self) -> str:
        """How large batches and their rows are, in words."""
        return f"{super().summary}{', each going on where the one before has ended' if self.carry else ''}"

    @property
    def recipe(self) -> list[str]:
        """Whether rows go on."""
        return ["carry"] if self.carry else []

    @property
    def closing_notes(self) -> list[str]:
        """How often each of several sources was gone through, and whether an epoch was begun anew."""
        if self._lanes_before is None:
            return super().closing_notes
        return [
            *super().closing_notes,
            f"the epoch that the run went on with was begun anew, since it was in {self._lanes_before} lanes: "
            "task.batch_size * trainer.accumulate_grad_batches * devices is another number now",
        ]

    def training_loader(self) -> Loader:
        """Training batches, permuted anew in each epoch unless `shuffle` is false. Raises UserError for more lanes than tokens."""
        if not self.carry:
            return super().training_loader()
        store, (_, world) = self.store("train"), self._rank()
        micro_batches = self.trainer.accumulate_grad_batches if self.trainer else 1
        lanes = self.batch_size * micro_batches * world
        if lanes > store.num_tokens:
            raise UserError(
                f"task.batch_size={self.batch_size}: a step of {micro_batches} batches on {world} devices has {lanes} rows, "
                f"and the train split {store.num_tokens} tokens. Set a smaller task.batch_size."
            )
        if (before := self._place.get("lanes", lanes)) != lanes:
            self._lanes_before = before
        sizes = np.diff(store.document_starts)
        layout = functools.partial(equal_lanes, sizes, lanes, self.seed, self.shuffle)
        return self._lane_loader("train", layout, self.batch_size)

    def _scoring(self, split: str) -> DataLoader[Batch]:
        if not self.carry:
            return super()._scoring(split)
        lanes = self.eval_batch_size * self._rank()[1]
        layout = functools.partial(whole_documents, np.diff(self.store(split).document_starts), lanes)
        return self._lane_loader(split, layout, self.eval_batch_size)

    def _lane_loader(self, split: str, layout: Layout, batch_size: int) -> ResumableLoader:
        training = split == "train"
        data = LaneRows(
            self.store(split), layout, seq_len=self.seq_len, end_id=self.tokenizer.end_id, scoring=not training
        )
        rank, world = self._rank()
        order = LaneSampler(
            len(data), batch_size, seed=self.seed, num_lanes=data.num_lanes, rank=rank, world=world,
            numbers_per_epoch=len(data) if training else 0,
        )  # fmt: skip
        workers, made_of = (self.num_workers, self.made_of) if training else (0, None)
        return ResumableLoader(data, order, num_workers=workers, pin=self._pin(), made_of=made_of)

    def watch(self, monitor: str) -> None:
        """Raises UserError for a score that only the end of a training has."""
        if monitor == f"val/{WordPerplexity.name}":
            raise UserError(
                f"callbacks.monitor={monitor} is computed at the end alone. Set callbacks.monitor={self.monitor}, which "
                "orders checkpoints as it would."
            )

    def num_words(self, split: str) -> int:
        """What white space parts in the texts of a split, as they are read: after any cleaning."""
        if split not in self._words:
            parts = self.source.parts.values()
            self._words[split] = sum(
                len(text.split()) for part in parts for texts in part.texts(split) for text in texts
            )
        return self._words[split]

    def baselines(self, split: str) -> Scores:
        """The unigram; none where train is a stream."""
        if "train" not in self._cached:
            return {}
        key = [self.source.fingerprint, split]
        return generators(self.store("train"), self.store(split), self.tokenizer, self.num_words(split), key)

    def prompts(self, count: int) -> list[Shown]:
        """The first characters of validation texts (of rows, where they are joined) that stand evenly apart."""
        store = self.store("validation")
        joined = list(self.source.parts.values())[-1].join_rows
        last = len(store.piece_ends) - (3 if joined else 2)  # the end of a joined text is a piece too
        chosen = np.linspace(0, last, count).astype(np.int64)
        texts = [self._beginning(store, int(end) + 1) for end in store.piece_ends[chosen]]
        return [Shown(text, ids) for text, ids in zip(texts, self.tokenizer.encode_batch(texts), strict=True)]

    def predictions(self, scored: Scored) -> Iterator[Prediction]:
        """One line per text of the test split, in order; texts of which not every label was scored are left out."""
        loss, count, store = scored.loss, scored.labels, self.store("test")
        sizes = np.diff(store.bytes_until(store.document_starts)).tolist()
        labels = np.diff(store.document_starts).tolist()
        for example in sorted(example for example in count if count[example] == labels[example]):
            yield Prediction(
                id=example,
                loss=loss[example],
                tokens=count[example],
                bytes=sizes[example],
                bits_per_byte=loss[example] / math.log(2) / sizes[example],
            )

    def pages(self, scored: Scored) -> Mapping[str, Callable[[Path], None]]:
        """Loss by the place, where that was asked for; none of a split of which not every label was scored."""
        if not self.by_place:
            return {}
        found = scored_stretches(scored.stretch_loss, scored.stretch_labels, self._stretches("test"))
        return {"by_place": functools.partial(write_stretches, found)} if found else {}

    def _stretches(self, split: str) -> dict[int, tuple[int, int]]:
        """How many labels, and bytes that they stand for, each stretch of the texts of a split has, as they are scored."""
        store, windows, found = self.store(split), self.scored_segments(split), dict[int, tuple[int, int]]()
        while bounds(len(found))[0] <= windows.length.max():
            start, count = labels_within(windows.skip, windows.length, len(found))
            found[len(found)] = int(count.sum()), int(store.bytes_of(windows.start + start, count).sum())
        return {stretch: sums for stretch, sums in found.items() if sums[0]}

    def scored_segments(self, split: str) -> Segments:
        """The pieces of texts that are scored: whole texts where rows go on."""
        if not self.carry:
            return super().scored_segments(split)
        starts = self.store(split).document_starts
        return cut(starts, int(np.diff(starts).max()))

    def answers(self, network: nn.Module, head: Head) -> Iterator[Prediction]:
        """How well a trained network predicts each row of the test split, in order."""
        return text_losses(self, network, head)

    def of_split(self, split: str, scored: Scored) -> dict[str, float]:
        """The perplexity per word; none of a split of which not every label was scored."""
        if sum(scored.labels.values()) != self.store(split).num_tokens:
            return {}
        return {WordPerplexity.name: WordPerplexity().score(list(scored.loss.values()), [self.num_words(split)])}

    def by_source(self, split: str, scored: Scored) -> dict[str, float]:
        """Bits per byte of each of several sources; nan for one of which not every label was scored."""
        store = self.store(split)
        if not isinstance(store, ConcatenatedStore):
            return {}
        scores = zip(self.source.parts, store.bits_per_byte(scored.loss, scored.labels), strict=True)
        return {f"bits_per_byte/{name}": score for name, score in scores}

    def _beginning(self, store: TokenStore, start: int) -> str:
        stream, text = self.tokenizer.stream(), ""
        for place in range(start, len(store.tokens)):
            token = int(store.tokens[place])
            if token == self.tokenizer.end_id or len(text) >= PROMPT_CHARACTERS:
                break
            text += stream.step(token)
        return text[:PROMPT_CHARACTERS]
