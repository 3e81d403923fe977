"""Guards windows that reach into another text, and chances that are not those of the papers."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.data.windows import FORMS, Windows, cumulated, keep_probabilities

ALL_ALIKE = np.ones(20, np.int64)


def make(form: str = "skip-gram", counts: np.ndarray = ALL_ALIKE, **settings: float) -> Windows:
    given = {"window": 2, "threshold": 0.0, "negatives": 3, "power": 0.75} | settings
    return Windows(FORMS[form], counts, **given)  # type: ignore[arg-type]


def row(*ids: int, segments: list[int] | None = None) -> Batch:
    batch = Batch(input_ids=torch.tensor([ids]))
    if segments is not None:
        batch["segments"] = torch.tensor([segments])
    return batch


def pairs(batch: Batch) -> list[tuple[int, int]]:
    return list(zip(batch["input_ids"][:, 0].tolist(), batch["candidates"][:, 0].tolist(), strict=True))


def reaches(key: list[int], length: int, window: int) -> list[int]:
    """How far each token's window goes, by the draws as they are documented: two numbers for each token."""
    draw = np.random.default_rng(key)
    return [1 + int(draw.random(2)[1] * window) for _ in range(length)]


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_pairs_against_a_loop_over_words(window: int, seed: int) -> None:
    ids, segments = [3, 4, 5, 6, 7, 8, 9], [1, 1, 1, 1, 2, 2, 2]
    reach = reaches([seed], 7, window)
    wanted = [
        (ids[i], ids[j])
        for i in range(7)
        for j in range(7)
        if i != j and abs(i - j) <= reach[i] and segments[i] == segments[j]
    ]
    found = make(window=window)(row(*ids, segments=segments), [[seed]])
    assert pairs(found) == wanted
    assert found["examples"].tolist() == [0] * len(wanted)
    assert int(found["num_tokens"]) == 7


@pytest.mark.parametrize("seed", range(4))
def test_cbow_reads_the_same_windows(seed: int) -> None:
    ids, reach = [3, 4, 5, 6, 7], reaches([seed], 5, 2)
    found = make("cbow")(row(*ids), [[seed]])
    read = [
        [int(word) for word, there in zip(*both, strict=True) if there]
        for both in zip(found["input_ids"].tolist(), found["segments"].tolist(), strict=True)
    ]
    assert read == [[ids[j] for j in range(5) if j != i and abs(i - j) <= reach[i]] for i in range(5)]
    assert found["candidates"][:, 0].tolist() == ids


def test_a_row_becomes_the_same_in_any_batch_and_however_wide_it_is_padded() -> None:
    make_windows = make(counts=np.arange(1, 21), threshold=0.05)
    alone = make_windows(row(3, 4, 5, 6, 7, 8), [[7, 1]])
    padded = torch.tensor([[9, 9, 8, 8, 7, 7, 6, 6, 5], [3, 4, 5, 6, 7, 8, 0, 0, 0]])
    inside = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    both = make_windows(Batch(input_ids=padded, segments=inside), [[7, 0], [7, 1]])
    second = both["examples"] == 1
    assert len(alone["candidates"]) > 0
    assert torch.equal(both["input_ids"][second], alone["input_ids"])
    assert torch.equal(both["candidates"][second], alone["candidates"])
    assert int(both["num_tokens"]) == 15


def test_words_that_are_left_out_bring_others_together() -> None:
    counts = np.ones(20, np.int64)
    counts[4] = 0  # no word
    found = make(counts=counts, window=1)(row(3, 4, 5), [[0]])
    assert pairs(found) == [(3, 5), (5, 3)]
    nothing = make(counts=counts)(row(4, 4), [[0]])
    assert nothing["input_ids"].shape == (0, 1)
    assert nothing["candidates"].shape == (0, 4)


def test_a_drawn_word_that_is_the_word_itself_is_left_out() -> None:
    counts = np.zeros(20, np.int64)
    counts[3], counts[5] = 1, 1
    drawn = make(counts=counts, negatives=50)(row(3, 5), [[0]])["candidates"]
    assert set(drawn[0, 1:].tolist()) == {IGNORE, 3}  # 5 is to be told
    assert set(drawn[1, 1:].tolist()) == {IGNORE, 5}


def test_chances_are_the_papers() -> None:
    """Exactly: Mikolov et al. 2013b, equation 5 (kept with sqrt(t / f), 1 - that is left out) and counts^(3/4)."""
    counts = np.array([0, 900, 90, 10])
    kept = keep_probabilities(counts, 0.04)
    assert kept.tolist() == [0.0, math.sqrt(0.04 / 0.9), math.sqrt(0.04 / 0.09), 1.0]
    assert keep_probabilities(counts, 0.0).tolist() == [0.0, 1.0, 1.0, 1.0]
    whole = 900**0.75 + 90**0.75 + 10**0.75
    chances = np.diff(cumulated(counts, 0.75), prepend=0.0)
    np.testing.assert_allclose(chances, [0, 900**0.75 / whole, 90**0.75 / whole, 10**0.75 / whole], atol=1e-15)
    assert cumulated(counts, 0.75)[-1] == 1.0
    np.testing.assert_allclose(np.diff(cumulated(counts, 0.0)), [1 / 3] * 3, atol=1e-15)


def test_draws_are_spread_as_the_chances_say() -> None:
    """40,000 drawn words and 5,000 words to keep, within five standard deviations."""
    counts = np.array([0, 0, 0, 900, 90, 10])
    make_windows = make(counts=counts, negatives=20, threshold=0.04, window=1)
    length = 5000
    found = make_windows(row(*[3] * length), [[1]])
    chances = np.diff(cumulated(counts, 0.75), prepend=0.0)
    drawn = Counter(found["candidates"][:, 1:].flatten().tolist())
    total = sum(drawn.values())
    for token, chance in ((IGNORE, chances[3]), (4, chances[4]), (5, chances[5])):
        assert abs(drawn[token] - total * chance) < 5 * math.sqrt(total * chance * (1 - chance))
    kept = (len(found["candidates"]) + 2) / 2  # each word but the outer ones has two neighbours
    chance = math.sqrt(0.04 / 0.9)
    assert abs(kept - length * chance) < 5 * math.sqrt(length * chance * (1 - chance))
