"""MinHash with banding: finds the pairs of sets that are likely alike, in linear time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyheads.data.words import Hashes, mix

NUM_HASHES = 128
RECALL = 0.99
"""How likely two sets that are just as alike as the threshold share a band, at least."""


class Bands(NamedTuple):
    """How a signature is cut: sets are compared when all `width` values of one of `number` bands agree."""

    number: int
    width: int

    def recall(self, jaccard: float) -> float:
        """How likely two sets of this Jaccard similarity share a band.

        Source: Leskovec, Rajaraman and Ullman 2020, "Mining of Massive Datasets", section 3.4.2.
        """
        return 1 - (1 - jaccard**self.width) ** self.number


def bands_for(threshold: float) -> Bands:
    """The widest bands, so the fewest pairs to compare, of which `RECALL` holds at the threshold."""
    fitting = [Bands(NUM_HASHES // width, width) for width in range(1, NUM_HASHES + 1)]
    return max((bands for bands in fitting if bands.recall(threshold) >= RECALL), key=lambda bands: bands.width,
               default=fitting[0])  # fmt: skip


def band_hashes(shingles: Hashes, starts: NDArray[np.int64], bands: Bands) -> Hashes:
    """[S, bands.number] a hash of each band of the signatures of S sets that are not empty.

    `shingles` are the members of all sets, one set after the other, `starts` [S] the place of each set's first. A value
    of the signature is the least of a random hash over the members: two sets agree in it with the probability of their
    Jaccard similarity. Source: Broder 1997, "On the resemblance and containment of documents"; the hash functions are
    of the form (a x + b) >> 32 (Dietzfelbinger 1996, "Universal hashing and k-wise independent random variables").
    """
    count = np.arange(1, 2 * NUM_HASHES + 1, dtype=np.uint64)
    draws = mix(count * np.uint64(0x9E3779B97F4A7C15))
    factors, offsets = draws[:NUM_HASHES] | np.uint64(1), draws[NUM_HASHES:]
    found = np.empty((len(starts), bands.number), np.uint64)
    for band in range(bands.number):
        total = np.zeros(len(starts), np.uint64)
        for k in range(band * bands.width, (band + 1) * bands.width):
            least = np.minimum.reduceat((shingles * factors[k] + offsets[k]) >> np.uint64(32), starts)
            total = mix(total * np.uint64(0x100000001B3) + least + np.uint64(1))
        found[:, band] = total
    return found
