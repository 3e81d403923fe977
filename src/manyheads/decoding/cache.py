"""The keys and values, or the states, of what a network has already read, kept so that decoding reads each token once."""

from __future__ import annotations

import torch
from torch import Tensor

from manyheads.batch import Batch


class Cache:
    """Room for `max_len` positions of keys and values in every layer; made by a network's `new_cache`.

    The network appends each batch that it reads together with the cache: first the prompts (T positions, padded on the
    left where they are ragged: segments 0 on padding, positions counted from each row's first real token), then one
    token at a time (T = 1, positions given where the prompts were ragged).
    Room is taken when the first keys arrive, in their precision and on their device.
    """

    def __init__(self, *, num_layers: int, batch_size: int, max_len: int) -> None:
        self.batch_size = batch_size
        self.max_len = max_len
        self.length = 0
        self._segments: Tensor | None = None  # [B, max_len] int64; stays None while no batch has brought segments
        self._keys: list[Tensor | None] = [None] * num_layers  # each [B, G, max_len, K]
        self._values: list[Tensor | None] = [None] * num_layers

    @property
    def num_bytes(self) -> int:
        """The room taken for keys and values."""
        return sum(room.nbytes for room in (*self._keys, *self._values) if room is not None)

    def segments(self, segments: Tensor | None, num_new: int) -> Tensor | None:
        """Notes the segments of the batch that comes next, and returns those of all positions.

        Args:
            segments: [B, T] as in a Batch; None stands for segment 1 everywhere.
            num_new: T.

        Returns:
            [B, S], S = length + T; None when every row is one whole segment so far.
        """
        end = self.length + num_new
        assert end <= self.max_len, f"the cache holds {self.max_len} positions, {end} were asked for"
        if segments is None and self._segments is None:
            return None
        if self._segments is None:
            assert segments is not None
            self._segments = segments.new_ones(self.batch_size, self.max_len)
        self._segments[:, self.length : end] = 1 if segments is None else segments
        return self._segments[:, :end]

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Appends one layer's new keys and values [B, G, T, K]; returns all of them, [B, G, S, K] each."""
        return self._append(self._keys, layer, key), self._append(self._values, layer, value)

    def whole(self, batch: Batch) -> Batch | None:
        """All that was read and the batch that comes next, where the network must read it again; else None."""
        return None

    def advance(self, num_new: int) -> None:
        """Counts `num_new` positions as read; called once, after every layer has been updated."""
        self.length += num_new

    def keep(self, rows: Tensor) -> None:
        """The rows at these places, [N] int64, in their order; a place that comes twice becomes two rows."""
        self.batch_size = len(rows)
        for store in (self._keys, self._values):
            store[:] = [None if room is None else room[rows] for room in store]
        if self._segments is not None:
            self._segments = self._segments[rows]

    def _append(self, store: list[Tensor | None], layer: int, new: Tensor) -> Tensor:
        room = store[layer]
        if room is None:
            room = store[layer] = new.new_empty(new.shape[0], new.shape[1], self.max_len, new.shape[3])
        end = self.length + new.shape[2]
        room[:, :, self.length : end] = new
        return room[:, :, :end]


class RereadingCache(Cache):
    """For a network whose states depend on the length of the row: past `until` positions the row is read again."""

    def __init__(self, *, num_layers: int, batch_size: int, max_len: int, until: int) -> None:
        super().__init__(num_layers=num_layers, batch_size=batch_size, max_len=max_len)
        self.until = until
        self._read: Batch | None = None

    def whole(self, batch: Batch) -> Batch | None:
        """Notes the batch; returns all that was read and it, with positions and segments, once that is too long."""
        ids = batch["input_ids"]
        positions = batch.get("positions")
        if positions is None:
            positions = torch.arange(self.length, self.length + ids.shape[1], device=ids.device).expand_as(ids)
        new = {"input_ids": ids, "positions": positions, "segments": batch.get("segments", torch.ones_like(ids))}
        if self._read is not None:
            new = {name: torch.cat((self._read[name], tensor), 1) for name, tensor in new.items()}
        self._read = Batch(**new)  # type: ignore[typeddict-item]
        return self._read if self.length + ids.shape[1] > self.until else None

    def keep(self, rows: Tensor) -> None:
        """The rows at these places, [N] int64, in their order; a place that comes twice becomes two rows."""
        super().keep(rows)
        if self._read is not None:
            self._read = Batch(**{name: tensor[rows] for name, tensor in self._read.items()})  # type: ignore[typeddict-item]


class SourceCache(Cache):
    """For a decoder behind an encoder: besides, the keys and values of each row's source, which is read once.

    The first batch that is read with it brings `source_ids`; those that follow do not.
    """

    def __init__(self, *, num_layers: int, batch_size: int, max_len: int) -> None:
        super().__init__(num_layers=num_layers, batch_size=batch_size, max_len=max_len)
        self.has_source = False
        self.source_mask: Tensor | None = None  # [B, 1, 1, S], added to the scores; None: no source is padded
        self._source: list[tuple[Tensor, Tensor] | None] = [None] * num_layers  # each [B, G, S, K] twice

    @property
    def num_bytes(self) -> int:
        """The room taken for keys and values, the sources' included."""
        return super().num_bytes + sum(part.nbytes for pair in self._source if pair is not None for part in pair)

    def keep_source(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Takes one layer's keys and values of the sources, [B, G, S, K] each."""
        self._source[layer] = key.contiguous(), value.contiguous()

    def of_source(self, layer: int) -> tuple[Tensor, Tensor]:
        """One layer's keys and values of the sources, [B, G, S, K] each."""
        pair = self._source[layer]
        assert pair is not None, "the first batch read with a cache brings source_ids"
        return pair

    def keep(self, rows: Tensor) -> None:
        """Drops every row but `rows`, [N] int64 places."""
        super().keep(rows)
        self._source = [None if pair is None else (pair[0][rows], pair[1][rows]) for pair in self._source]
        if self.source_mask is not None:
            self.source_mask = self.source_mask[rows]


States = tuple[Tensor, ...]
"""[layers x directions, B, H] each: hidden states, and of an LSTM those of its cells."""


class StateCache:
    """For a recurrent network: the states after what it has read, whose size does not depend on how much that was."""

    def __init__(self, *, batch_size: int, max_len: int) -> None:
        self.batch_size = batch_size
        self.max_len = max_len
        self.length = 0
        self.states: States | None = None  # None while nothing has been read

    @property
    def num_bytes(self) -> int:
        """The room taken for states."""
        return sum(state.nbytes for state in self.states or ())

    def put(self, states: States, num_new: int) -> None:
        """Takes the states after `num_new` more positions."""
        self.length += num_new
        assert self.length <= self.max_len, f"the cache is for {self.max_len} positions, {self.length} were read"
        self.states = states

    def keep(self, rows: Tensor) -> None:
        """Drops every row but `rows`, [N] int64 places."""
        self.batch_size = len(rows)
        if self.states is not None:
            self.states = tuple(state[:, rows] for state in self.states)


class TokenCache:
    """For a network over a window of tokens: the last `kept` ones of what it has read."""

    def __init__(self, *, batch_size: int, max_len: int, kept: int) -> None:
        self.batch_size = batch_size
        self.max_len = max_len
        self.kept = kept
        self.length = 0
        self._ids: Tensor | None = None  # [B, kept] int64; zeros where less was read

    @property
    def num_bytes(self) -> int:
        """The room taken for tokens."""
        return 0 if self._ids is None else self._ids.nbytes

    def before(self, ids: Tensor) -> Tensor:
        """`ids` [B, T] behind the tokens before them, [B, kept + T]; they are noted as read."""
        self.length += ids.shape[1]
        assert self.length <= self.max_len, f"the cache is for {self.max_len} positions, {self.length} were read"
        old = ids.new_zeros(ids.shape[0], self.kept) if self._ids is None else self._ids
        read = torch.cat((old, ids), 1)
        self._ids = read[:, read.shape[1] - self.kept :]
        return read

    def keep(self, rows: Tensor) -> None:
        """The rows at these places, [N] int64, in their order; a place that comes twice becomes two rows."""
        self.batch_size = len(rows)
        if self._ids is not None:
            self._ids = self._ids[rows]


def causal_mask(
    segments: Tensor | None, num_new: int, num_keys: int, device: torch.device, window: int | None = None
) -> Tensor | None:
    """Which keys each of the `num_new` newest positions may attend to: itself and what came before it in its segment.

    Args:
        segments: [B, S], the segment of every key, the newest positions last; None when each row is one segment.
        num_new: T.
        num_keys: S.
        device: where the mask is made.
        window: how many positions are seen, itself included; None for all.

    Returns:
        bool [B, 1, T, S], or [T, S] without segments; None when every key is seen (T = 1 without segments or a window).
        A padding position (segment 0) sees the padding before it and itself, so no row of the mask is empty.
    """
    if segments is None and num_new == 1 and (window is None or window >= num_keys):
        return None
    before = torch.ones(num_new, num_keys, dtype=torch.bool, device=device).tril_(num_keys - num_new)
    if window is not None:
        before.triu_(num_keys - num_new - window + 1)
    if segments is None:
        return before
    return (segments[:, -num_new:, None] == segments[:, None, :]).logical_and_(before).unsqueeze(1)
