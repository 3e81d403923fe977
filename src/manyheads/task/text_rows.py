"""Tasks whose rows are cut from plain texts: what generation, masking and denoising have in common."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from manyheads.batch import Batch
from manyheads.data.altered import SCORED, TRAINED, Alter, AlteredRows
from manyheads.data.batches import PackedRows
from manyheads.data.cache import fingerprint
from manyheads.data.concatenated import ConcatenatedStore, shares
from manyheads.data.loader import ResumableLoader
from manyheads.data.mixing import MixedOrder
from manyheads.data.packing import Rows, Segments, concatenated, cut, pack, single
from manyheads.data.round_trip import losses
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.data.source import SPLITS, Source
from manyheads.data.store import TokenStore, tokenize
from manyheads.data.stream import RowStream
from manyheads.data.stream_loader import StreamBatches, StreamLoader
from manyheads.errors import UserError, check_range
from manyheads.task.base import Loader, SplitSize, Task
from manyheads.tokenizer.base import Tokenizer


class TextRows(Task):
    """Texts to tokens, kept in the cache; tokens to rows; rows to batches that can be gone on with anywhere.

    Each text is preceded by the tokenizer's end-of-text token and followed by it. Texts longer than a row are cut from
    their own start; no row sees across the border of a text. A final class says what is learned of a row: by default the
    token that follows each, and with `alter` what that makes of it.

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
        shuffle: whether training rows are permuted in each epoch.
        stride: tokens between the beginnings of windows when scoring; None: `seq_len`, no overlap.

    Raises:
        UserError: a number is out of range.
    """

    alter: Alter | None = None
    """What becomes of a batch of rows, by draws that go by the row alone; None: it stays as it is."""
    marks = 0
    """Tokens that `alter` adds to a row, at most."""
    masks: int | None = None
    """After how many epochs the draws of training come again; None: never."""

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        batch_size: int,
        eval_batch_size: int | None,
        seq_len: int,
        pack: bool,
        num_workers: int,
        shuffle: bool,
        stride: int | None = None,
    ) -> None:
        super().__init__()
        eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        check_range("seed", seed, 0)
        check_range("task.batch_size", batch_size, 1)
        check_range("task.eval_batch_size", eval_batch_size, 1)
        check_range("task.seq_len", seq_len, 1)
        check_range("task.num_workers", num_workers, 0)
        if stride is not None:
            check_range("task.stride", stride, 1, seq_len, hint="The upper end is task.seq_len.")
        if source.stream() is not None:
            check_range("task.num_workers", num_workers, 0, 1, hint="With data.streaming=true one process reads.")
        self.source = source
        self.tokenizer = tokenizer
        self.seed = seed
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seq_len = seq_len
        self.pack = pack
        self.num_workers = num_workers
        self.stride = stride
        self.shuffle = shuffle
        self._stores: dict[str, TokenStore] = {}
        self._mixed: MixedOrder | None = None

    @property
    def summary(self) -> str:
        """How large batches and their rows are, in words."""
        return f"rows of {self.seq_len} tokens, {self.batch_size} in a batch"

    @property
    def notes(self) -> list[str]:
        """What the source says, what the tokenizer lost, and how many empty texts were left out, of the splits read."""
        found = list(self.source.notes)
        stores = {split: store for split, store in self._stores.items() if isinstance(store, ConcatenatedStore)}
        found += shares(list(self.source.parts), self.source.weights, stores)
        found += losses(self.tokenizer, {split: store.round_trip for split, store in self._stores.items()})
        for split, store in self._stores.items():
            if store.num_empty and not self.source.join_rows:
                found.append(f"{store.num_empty:,} of {store.num_rows:,} rows of {split} are empty and left out.")
        return found

    @property
    def closing_notes(self) -> list[str]:
        """How often each of several sources, or a stream, was gone through."""
        if self._loader is None:
            return []
        place = self._loader.state_dict()
        if isinstance(self._loader, StreamLoader):
            return [f"the stream was gone through {place['passes']:,} times, and in part after that"]
        if self._mixed is None:
            return []
        passes = self._mixed.passes(place["epoch"], place["rows"])
        told = ", ".join(f"{name} {count:.2f} times" for name, count in zip(self.source.parts, passes, strict=True))
        return [f"training went through {told}"]

    @property
    def tokens_per_epoch(self) -> int | None:
        """Labels of the training split; None: it is a stream, and nobody knows."""
        return None if self.source.stream() is not None else self.store("train").num_tokens

    @property
    def _cached(self) -> list[str]:
        """The splits whose tokens are kept: all, or all but a train that is a stream."""
        return [split for split in SPLITS if split != "train" or self.source.stream() is None]

    def store(self, split: str) -> TokenStore:
        """The tokens of a split, made when first asked for. Raises UserError when the split holds no text."""
        if split not in self._stores:
            stores = [tokenize(part, split, self.tokenizer) for part in self.source.parts.values()]
            store = stores[0] if len(stores) == 1 else ConcatenatedStore(stores)
            empty = [name for name, one in zip(self.source.parts, stores, strict=True) if not one.num_tokens]
            if empty:
                raise UserError(
                    f"data ({empty[0]}): the {split} split holds no text, only {store.num_rows} empty rows. "
                    f"Set data with text for {split}, or data.text_column."
                )
            self._stores[split] = store
        return self._stores[split]

    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        """Tokenizes the splits, unless they are cached. Raises UserError when one of them holds no text."""
        for split in splits:
            if split in self._cached:
                self.store(split)

    def describe(self) -> dict[str, SplitSize]:
        """The size of each split, but of a train that is a stream."""
        stores = {split: self.store(split) for split in self._cached}
        return {
            split: SplitSize(rows=store.num_rows, bytes=store.num_bytes, tokens=store.num_tokens)
            for split, store in stores.items()
        }

    @property
    def recipe(self) -> list[Any]:
        """What `alter` depends on besides tokenizer and seed; numbers and texts."""
        return []

    @property
    def made_of(self) -> str:
        """A fingerprint of the source, of where it is cut, and of how rows are made and permuted."""
        stream = self.source.stream()
        size = self.store("train").num_tokens if stream is None else stream.block_bytes
        settings = [self.seq_len, self.pack, self.shuffle, self.seed, size, *self.recipe]
        return fingerprint("rows", self.source.fingerprint, self.tokenizer.fingerprint, settings)

    def training_loader(self) -> Loader:
        """Training batches, permuted anew in each epoch unless `shuffle` is false."""
        stream = self.source.stream()
        return self._cached_loader() if stream is None else self._stream_loader(stream)

    def _stream_loader(self, stream: RowStream) -> StreamLoader:
        rank, world = self._rank()
        batches = StreamBatches(
            stream, self.tokenizer, joined=self.source.join_rows, name=self.source.name, batch_size=self.batch_size,
            seq_len=self.seq_len, pack=self.pack, shuffle=self.shuffle, seed=self.seed, rank=rank, world=world,
            alter=self.alter,
        )  # fmt: skip
        return StreamLoader(batches, num_workers=self.num_workers, pin=self._pin(), made_of=self.made_of)

    def _cached_loader(self) -> ResumableLoader:
        store = self.store("train")
        segments = cut(store.document_starts, self.seq_len - self.marks)
        rows, mixed = self._packed(store, segments)
        data = PackedRows(store, segments, rows, end_id=self.tokenizer.end_id, scoring=False)
        if self.alter is not None:
            alter = self.trained_by(segments.document[rows.members[rows.starts[:-1]]])
            data = AlteredRows(data, alter, key=(self.seed, TRAINED), masks=self.masks)
        rank, world = self._rank()
        num_rows = len(data) if mixed is None else len(mixed)
        if num_rows < world:
            raise UserError(
                f"trainer.devices: {world} devices, but the train split fills only {num_rows} rows of "
                f"task.seq_len={self.seq_len}. Set fewer devices, a smaller task.seq_len or task.pack=false."
            )
        order = ResumableBatchSampler(
            num_rows, self.batch_size, seed=self.seed, shuffle=self.shuffle, rank=rank, world=world, order=mixed,
            lengths=None if self.pack or mixed is not None else data.lengths,
            micro_batches=self.trainer.accumulate_grad_batches if self.trainer else 1,
            numbers_per_epoch=0 if self.alter is None else len(data),
        )  # fmt: skip
        return ResumableLoader(data, order, num_workers=self.num_workers, pin=self._pin(), made_of=self.made_of)

    def _packed(self, store: TokenStore, segments: Segments) -> tuple[Rows, MixedOrder | None]:
        """The training rows, none with texts of two sources; and their order, when there are several sources."""

        def placed(lengths: NDArray[np.int64]) -> Rows:
            return pack(lengths, self.seq_len) if self.pack else single(lengths)

        if not isinstance(store, ConcatenatedStore):
            return placed(segments.length), None
        bounds = np.searchsorted(segments.start, store.starts)
        rows = [placed(segments.length[start:end]) for start, end in itertools.pairwise(bounds)]
        weights = self.source.weights
        order = MixedOrder(
            [len(part.starts) - 1 for part in rows],
            [part.num_tokens for part in store.stores],
            None if weights is None else list(weights.values()),
            seed=self.seed,
            shuffle=self.shuffle,
        )
        self._mixed = order
        return concatenated(rows), order

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches: every label once, in an order that does not change."""
        return self._scoring("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches: every label once, in an order that does not change."""
        return self._scoring("test")

    def trained_by(self, documents: NDArray[np.int64]) -> Alter:
        """What becomes of the rows of training; `documents` [R] says which text each begins with."""
        assert self.alter is not None
        return self.alter

    def scored_by(self, split: str) -> Alter | None:
        """What becomes of the rows of a split that is scored: what becomes of those of training."""
        return self.alter

    def scored_segments(self, split: str) -> Segments:
        """The pieces of texts that are scored, a row each, in the texts' order."""
        return cut(self.store(split).document_starts, self.seq_len - self.marks, self.stride)

    def _scoring(self, split: str) -> DataLoader[Batch]:
        store, segments = self.store(split), self.scored_segments(split)
        rows, alter = single(segments.length), self.scored_by(split)
        data = PackedRows(store, segments, rows, end_id=self.tokenizer.end_id, scoring=alter is None)
        if alter is not None:
            data = AlteredRows(data, alter, key=(self.seed, SCORED), examples=rows.members)
        rank, world = self._rank()
        order = ResumableBatchSampler(
            len(data), self.eval_batch_size, seed=self.seed, shuffle=False, rank=rank, world=world
        )
        return ResumableLoader(data, order, pin=self._pin())
