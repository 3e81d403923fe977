"""Guards T5's and BART's corruption against counts by hand, and against what the papers say of all texts together."""

import itertools
import math

import numpy as np
import pytest

from manyheads.data.corruption import (
    Span,
    infilling_spans,
    most_spans,
    noise_spans,
    shuffled_sentences,
    with_masks,
    with_sentinels,
)

SENTINELS = [900, 901, 902, 903]


def test_the_example_of_the_paper() -> None:
    """Raffel et al. 2020, figure 2: "Thank you for inviting me to your party last week."; words for tokens, by hand."""
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
    numbers = np.arange(len(words))
    source, target = with_sentinels(numbers, [Span(2, 2), Span(8, 1)], SENTINELS)
    names = dict(enumerate(words)) | {900: "<X>", 901: "<Y>", 902: "<Z>"}
    assert " ".join(names[number] for number in source.tolist()) == "Thank you <X> me to your party <Y> week ."
    assert " ".join(names[number] for number in target.tolist()) == "<X> for inviting <Y> last <Z>"


def test_no_span_leaves_the_text() -> None:
    source, target = with_sentinels(np.array([5]), [], SENTINELS)
    assert (source.tolist(), target.tolist()) == ([5], [900])


@pytest.mark.parametrize("length", [2, 3, 7, 20, 100, 513])
def test_spans_drop_as_many_tokens_as_t5_does(length: int) -> None:
    """Counts by the formula of t5's preprocessor; spans are apart, and of short texts both ends are dropped too."""
    random = np.random.default_rng(length)
    noise = min(max(int(np.round(length * 0.15)), 1), length - 1)
    count = max(int(np.round(noise / 3.0)), 1)
    first, last = [], []
    for _ in range(50):
        spans = noise_spans(length, 0.15, 3.0, random)
        assert sum(span.length for span in spans) == noise
        assert len(spans) == count == most_spans(length, 0.15, 3.0)
        assert min(span.length for span in spans) >= 1
        first.append(spans[0].start)
        last.append(spans[-1].start + spans[-1].length)
        assert all(one.start + one.length < other.start for one, other in itertools.pairwise(spans))
    assert min(first) >= 0
    assert max(last) <= length
    assert length > 20 or (min(first), max(last)) == (0, length)


def test_texts_too_short_have_no_span() -> None:
    assert (
        noise_spans(0, 0.15, 3.0, np.random.default_rng(0)) == noise_spans(1, 0.15, 3.0, np.random.default_rng(0)) == []
    )


def test_each_way_to_cut_is_equally_likely() -> None:
    """Of 6 tokens 4 are dropped in 2 spans: 3 ways to cut 4, and 3 to place the 2 that stay, one of them between."""
    random = np.random.default_rng(0)
    found = [tuple(noise_spans(6, 4 / 6, 2.0, random)) for _ in range(9000)]
    ways = {
        ((before, size), (before + size + between, 4 - size))
        for size in (1, 2, 3)
        for before, between in ((0, 1), (1, 1), (0, 2))
    }
    assert {*found} == ways
    assert all(abs(found.count(way) - 1000) < 4 * math.sqrt(9000 * 8 / 81) for way in ways)


def test_the_tokens_come_back() -> None:
    """The target's spans put in the place of the source's sentinels are the text."""
    random, tokens = np.random.default_rng(1), np.arange(100, 200)
    sentinels = list(range(900, 1000))
    source, target = with_sentinels(tokens, noise_spans(100, 0.15, 3.0, random), sentinels)
    spans: dict[int, list[int]] = {}
    for token in target.tolist():
        if token >= 900:
            last = token
            spans[last] = []
        else:
            spans[last].append(token)
    mended = [part for token in source.tolist() for part in (spans[token] if token >= 900 else [token])]
    assert mended == tokens.tolist()
    assert spans[last] == []


def test_infilling_by_hand() -> None:
    """One mask for a span of any length, of none too."""
    tokens = np.array([1, 2, 3, 4, 5])
    assert with_masks(tokens, [Span(0, 2), Span(3, 0), Span(4, 1)], 9).tolist() == [9, 3, 9, 4, 9]
    assert with_masks(tokens, [], 9).tolist() == [1, 2, 3, 4, 5]


def test_infilling_hides_the_share_in_spans_of_the_poisson() -> None:
    """Exactly the share of each text; lengths with the mean and the share of zeros of Poisson(3), within four deviations
    (the last span of each text, which is cut, apart)."""
    random, lengths = np.random.default_rng(0), []
    for _ in range(300):
        spans = infilling_spans(200, 0.3, 3.0, random)
        assert sum(span.length for span in spans) == 60
        assert all(one.start + one.length <= other.start for one, other in itertools.pairwise(spans))
        assert spans[0].start >= 0
        assert spans[-1].start + spans[-1].length <= 200
        lengths += [span.length for span in spans]
    assert abs(np.mean(lengths) - 3) < 0.1
    zeros = lengths.count(0) / len(lengths)
    assert abs(zeros - math.exp(-3)) < 4 * math.sqrt(math.exp(-3) / len(lengths))
    assert infilling_spans(0, 0.3, 3.0, random) == []


def test_every_place_is_equally_likely() -> None:
    """Of one token in three, hidden: each is hidden in a third of the draws."""
    random = np.random.default_rng(0)
    found = [next(span.start for span in infilling_spans(3, 1 / 3, 50.0, random) if span.length) for _ in range(3000)]
    assert all(abs(found.count(place) - 1000) < 4 * math.sqrt(3000 * 2 / 9) for place in range(3))


def test_sentences_are_shuffled_whole() -> None:
    """All orders of three sentences come; the last one, without a stop, is one too."""
    tokens, ends = np.array([1, 2, 9, 3, 9, 4]), np.array([0, 0, 1, 0, 1, 0], bool)
    random = np.random.default_rng(0)
    found = {tuple(shuffled_sentences(tokens, ends, random).tolist()) for _ in range(200)}
    parts = ([1, 2, 9], [3, 9], [4])
    assert found == {tuple(itertools.chain(*order)) for order in itertools.permutations(parts)}
    assert shuffled_sentences(np.array([], np.int64), np.array([], bool), random).tolist() == []
