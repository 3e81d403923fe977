"""Guards: signatures that do not estimate the Jaccard similarity, and bands that miss what they promise to find."""

import numpy as np
import pytest

from manyheads.data.minhash import NUM_HASHES, RECALL, Bands, band_hashes, bands_for
from manyheads.data.words import mix


def sets(jaccard: float, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of sets of 60 members with this similarity, one after the other, all members distinct otherwise."""
    both = round(2 * 60 * jaccard / (1 + jaccard))
    members, fresh = [], 0
    for _ in range(pairs):
        shared = list(range(fresh, fresh + both))
        fresh += both
        for _ in range(2):
            members += shared + list(range(fresh, fresh + 60 - both))
            fresh += 60 - both
    return mix(np.array(members, np.uint64)), np.arange(0, 60 * 2 * pairs, 60)


@pytest.mark.parametrize("jaccard", [0.2, 0.5, 0.8])
def test_values_agree_as_often_as_the_sets_are_alike(jaccard: float) -> None:
    """With bands of width 1 each value is a band. Over 200 pairs of 128 values, the share's standard error is below
    0.004 for independent values; the margin is far below the distance to another similarity."""
    found = band_hashes(*sets(jaccard, 200), Bands(NUM_HASHES, 1))
    both = round(2 * 60 * jaccard / (1 + jaccard))
    assert np.mean(found[::2] == found[1::2]) == pytest.approx(both / (120 - both), abs=0.02)


def test_pairs_share_a_band_as_often_as_the_formula_says() -> None:
    bands = bands_for(0.8)
    found = band_hashes(*sets(0.5, 400), bands)
    both = round(120 * 0.5 / 1.5)
    share = np.mean((found[::2] == found[1::2]).any(axis=1))
    assert share == pytest.approx(bands.recall(both / (120 - both)), abs=0.07)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.8, 0.9, 1.0])
def test_bands_are_the_widest_that_find_what_is_promised(threshold: float) -> None:
    bands = bands_for(threshold)
    assert bands.number * bands.width <= NUM_HASHES
    assert bands.recall(threshold) >= RECALL or bands.width == 1
    wider = Bands(NUM_HASHES // (bands.width + 1) or 1, bands.width + 1)
    assert bands.width == NUM_HASHES or wider.recall(threshold) < RECALL


def test_the_formula_by_hand() -> None:
    assert Bands(2, 2).recall(0.5) == pytest.approx(1 - 0.75**2)


def test_a_set_has_the_same_bands_whatever_stands_beside_it() -> None:
    shingles, starts = sets(0.5, 2)
    whole = band_hashes(shingles, starts, bands_for(0.8))
    alone = band_hashes(shingles[60:120], np.array([0]), bands_for(0.8))
    assert whole[1].tolist() == alone[0].tolist()
