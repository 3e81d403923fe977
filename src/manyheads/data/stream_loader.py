"""Training batches of a stream, and the loader that knows how far training has come in it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, TypedDict, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from manyheads.batch import Batch
from manyheads.data.altered import TRAINED, Alter, AlteredRows
from manyheads.data.batches import PackedRows, as_is
from manyheads.data.loader import MADE_OF, others
from manyheads.data.packing import cut, pack, single
from manyheads.data.sampler import Place, ResumableBatchSampler
from manyheads.data.stream import Block, RowStream, StreamPlace
from manyheads.errors import UserError
from manyheads.tokenizer.base import Tokenizer

ENDLESS = 1 << 40
"""The length of the loader. Of one without a length Lightning takes a batch more than it trains on, to find the end."""


class BatchPlace(TypedDict):
    """Where training stands in a stream."""

    epoch: int  # Lightning's: each starts the stream anew
    passes: int  # how often the stream has come to its end since
    block: int  # how many blocks have been used up since
    stream: StreamPlace  # where this block begins
    before: int  # the token before this block
    rows: Place  # how much of this block is used


def beginning(epoch: int, end_id: int) -> BatchPlace:
    """The place at the start of an epoch."""
    rows = Place(epoch=0, rows=0, batches=0)
    return BatchPlace(epoch=epoch, passes=0, block=0, stream=StreamPlace(), before=end_id, rows=rows)


class BlockTokens(NamedTuple):
    """The tokens of a block, as a TokenStore has those of a split."""

    tokens: NDArray[np.int64]
    document_starts: NDArray[np.int64]


@final
class StreamBatches(IterableDataset[tuple[Batch, BatchPlace]]):
    """Batches from a place on, without end, each with the place after it.

    A block of rows is tokenized, cut, packed and permuted as a split is; then comes the next block. So a place is where
    the block begins and how much of it is used: a resume reads the block again and goes on at the next batch. Where rows
    are joined, a block's first token is predicted from the last one of the block before.
    """

    def __init__(
        self,
        stream: RowStream,
        tokenizer: Tokenizer,
        *,
        joined: bool,
        name: str,
        batch_size: int,
        seq_len: int,
        pack: bool,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world: int = 1,
        alter: Alter | None = None,
    ) -> None:
        self.stream = stream
        self.tokenizer = tokenizer
        self.joined = joined
        self.name = name
        self.seq_len = seq_len
        self.pack = pack
        self.seed = seed
        self.alter = alter
        self.sampler = functools.partial(
            ResumableBatchSampler, batch_size=batch_size, shuffle=shuffle, rank=rank, world=world
        )
        self.place = beginning(0, tokenizer.end_id)

    def __iter__(self) -> Iterator[tuple[Batch, BatchPlace]]:
        """Raises UserError when a whole pass holds no text."""
        place = self.place
        while True:
            learned = bool(place["stream"])  # a pass that was begun before is known to have something
            for block, after in self.stream.blocks(place["stream"]):
                made = self._tokens(block, place["before"])
                if len(made.tokens) > 1:
                    learned = True
                    yield from self._of_block(made, place)
                place = BatchPlace(
                    epoch=place["epoch"],
                    passes=place["passes"] + block.ended,
                    block=place["block"] + 1,
                    stream=after,
                    before=int(made.tokens[-1]),
                    rows=Place(epoch=0, rows=0, batches=0),
                )
            if not learned:
                raise UserError(f"data ({self.name}): the train split holds no text. Set data with text for train.")

    def _of_block(self, made: BlockTokens, place: BatchPlace) -> Iterator[tuple[Batch, BatchPlace]]:
        segments = cut(made.document_starts, self.seq_len)
        rows = pack(segments.length, self.seq_len) if self.pack else single(segments.length)
        data = PackedRows(made, segments, rows, end_id=self.tokenizer.end_id, scoring=False)
        if self.alter is not None:
            data = AlteredRows(data, self.alter, key=(self.seed, TRAINED, place["epoch"], place["block"]))
        lengths = None if self.pack else data.lengths
        order = self.sampler(len(data), seed=[self.seed, place["epoch"], place["block"]], lengths=lengths)
        order.load_state_dict(place["rows"])
        for taken, members in enumerate(order, start=1):
            yield data.__getitems__(members), BatchPlace(**{**place, "rows": order.after(taken)})

    def _tokens(self, block: Block, before: int) -> BlockTokens:
        end_id = self.tokenizer.end_id
        ids = self.tokenizer.encode_batch([text for text in block.texts if text])
        if self.joined:
            # one document; its end is a label too
            ids = [list(itertools.chain([before], *ids, [end_id] if block.ended else []))]
        else:
            ids = [[end_id], *([*tokens, end_id] for tokens in ids)]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        tokens = np.fromiter(itertools.chain.from_iterable(ids), np.int64, int(lengths.sum()))
        starts = np.array([0, len(tokens) - 1]) if self.joined else lengths.cumsum() - 1
        return BlockTokens(tokens, starts)


@final
class StreamLoader:
    """Loads the batches of a stream, and knows the place after the last one that it has handed out.

    What a worker has fetched ahead does not count.
    """

    def __init__(
        self, batches: StreamBatches, *, num_workers: int = 0, pin: bool = False, made_of: str | None = None
    ) -> None:
        """`made_of`: a fingerprint of the rows and their order. A place among rows of another one means nothing."""
        self.batches, self.made_of = batches, made_of
        self._workers = {"num_workers": num_workers, "pin_memory": pin}
        self._place = batches.place

    @property
    def sampler(self) -> StreamLoader:
        """Itself: Lightning calls `set_epoch` of a loader's sampler at the start of each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Goes to the start of another epoch. The epoch that it is in already is not started again."""
        if epoch != self._place["epoch"]:
            self._place = beginning(epoch, self.batches.tokenizer.end_id)

    def __len__(self) -> int:
        """More batches than any run takes."""
        return ENDLESS

    def __iter__(self) -> Iterator[Batch]:
        """Starts at the first `next`, not before: Lightning says which epoch it is only after it has called `iter`."""
        self.batches.place = self._place
        # a generator of its own: the default one would draw a number from the global one
        generator = torch.Generator().manual_seed(self.batches.seed)
        loader = DataLoader(self.batches, batch_size=None, collate_fn=as_is, generator=generator, **self._workers)
        for batch, place in loader:
            self._place = place
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch that was handed out."""
        return dict(self._place) if self.made_of is None else {**self._place, MADE_OF: self.made_of}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a place; the next iteration starts there. Among other rows it starts with the first one."""
        if others(state, self.made_of):
            self._place = beginning(state["epoch"], self.batches.tokenizer.end_id)
        else:
            self._place = BatchPlace(**{name: value for name, value in state.items() if name != MADE_OF})  # type: ignore[typeddict-item]
