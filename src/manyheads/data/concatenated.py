"""Several stores as one, without a copy."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import cast, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manyheads.data.round_trip import RoundTrip
from manyheads.data.store import TokenStore


@final
class ConcatenatedStore(TokenStore):
    """The tokens of several stores of one tokenizer, one after the other: what one store of all their texts would hold.

    The END after the last text of a store and the one before the first text of the next are the same.
    """

    def __init__(self, stores: Sequence[TokenStore]) -> None:
        self.stores = stores
        self.num_rows = sum(store.num_rows for store in stores)
        self.num_empty = sum(store.num_empty for store in stores)
        trips = [store.round_trip for store in stores]
        shown = next((trip for trip in trips if trip.changed), RoundTrip())
        self.round_trip = RoundTrip(
            texts=sum(trip.texts for trip in trips),
            changed=sum(trip.changed for trip in trips),
            tokens=sum(trip.tokens for trip in trips),
            unknown=sum(trip.unknown for trip in trips),
            before=shown.before,
            after=shown.after,
        )

    def __reduce__(self) -> tuple[type[ConcatenatedStore], tuple[Sequence[TokenStore]]]:  # type: ignore[override]
        """A worker opens the files itself instead of getting a copy of them."""
        return ConcatenatedStore, (self.stores,)

    @functools.cached_property
    def starts(self) -> NDArray[np.int64]:
        """[stores + 1] the place of each store's first END, and of the last END of all."""
        return np.cumsum([0, *(store.num_tokens for store in self.stores)])

    @functools.cached_property
    def tokens(self) -> NDArray[np.unsignedinteger]:
        """[num_tokens + 1], for indices in arrays of any shape."""
        return cast("NDArray[np.unsignedinteger]", _Joined([store.tokens for store in self.stores], self.starts))

    @functools.cached_property
    def document_starts(self) -> NDArray[np.int64]:
        """[num_documents + 1]"""
        return _joined([store.document_starts for store in self.stores])

    @functools.cached_property
    def piece_ends(self) -> NDArray[np.int64]:
        """[pieces + 1]"""
        return _joined([store.piece_ends for store in self.stores])

    @functools.cached_property
    def byte_ends(self) -> NDArray[np.int64]:
        """[pieces + 1]"""
        return _joined([store.byte_ends for store in self.stores])

    def token_counts(self, vocab_size: int) -> NDArray[np.int64]:
        """[V]"""
        return np.sum([store.token_counts(vocab_size) for store in self.stores], axis=0)

    def bits_per_byte(self, loss: Mapping[int, float], count: Mapping[int, int]) -> list[float]:
        """That of each store, given each document's sum of losses in nats and count of labels.

        nan for a store of which not every label was scored.
        """
        ends = np.cumsum([0, *(store.num_documents for store in self.stores)]).tolist()
        found = []
        for store, (first, end) in zip(self.stores, itertools.pairwise(ends), strict=True):
            whole = sum(count.get(document, 0) for document in range(first, end)) == store.num_tokens
            nats = sum(loss.get(document, 0.0) for document in range(first, end))
            found.append(nats / math.log(2) / store.num_bytes if whole else math.nan)
        return found


def shares(
    names: Sequence[str], weights: Mapping[str, float] | None, stores: Mapping[str, ConcatenatedStore]
) -> Iterator[str]:
    """A sentence for each source: its share of the training tokens, and how large its splits are. None without train."""
    if "train" not in stores:
        return
    given = [store.num_tokens for store in stores["train"].stores] if weights is None else list(weights.values())
    for number, name in enumerate(names):
        parts = {split: store.stores[number] for split, store in stores.items()}
        sizes = "; ".join(
            f"{split} {part.num_rows:,} rows, {part.num_bytes:,} bytes, {part.num_tokens:,} tokens"
            for split, part in parts.items()
        )
        yield f"{name}: {given[number] / sum(given):.1%} of the training tokens; {sizes}"


class _Joined:
    """Arrays of which the last entry of each is the first of the next."""

    def __init__(self, arrays: Sequence[NDArray], starts: NDArray[np.int64]) -> None:
        self._arrays = arrays
        self._starts = starts

    def __len__(self) -> int:
        return int(self._starts[-1]) + 1

    def take(self, places: ArrayLike) -> NDArray[np.uint32]:
        """What numpy's arrays call so."""
        return self[places]

    def __getitem__(self, places: ArrayLike) -> NDArray[np.uint32]:
        places = np.asarray(places)
        array = np.searchsorted(self._starts[1:-1], places, side="right")
        found = np.empty(places.shape, np.uint32)
        for number in np.unique(array).tolist():
            here = array == number
            found[here] = self._arrays[number][places[here] - self._starts[number]]
        return found


def _joined(ends: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """[sum of entries but the first of each, + 1] entries that count on from those of the array before."""
    starts = np.cumsum([0, *(end[-1] for end in ends)])
    return np.concatenate([[0], *(end[1:] + start for end, start in zip(ends, starts[:-1], strict=True))])
