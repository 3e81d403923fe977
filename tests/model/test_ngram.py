"""The network that counts: whatever the batches, the counts are those of the texts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.ngram import NGram

from .test_kneser_ney import counted, shares, texts

V = 7


def batch_of(rows: list[list[int]], length: int) -> Batch:
    """Texts of token ids as padded rows, each its own."""
    ids, labels = torch.zeros(len(rows), length, dtype=torch.long), torch.full((len(rows), length), IGNORE)
    segments = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        size = len(row) - 1
        ids[i, :size], labels[i, :size] = torch.tensor(row[:-1]), torch.tensor(row[1:])
        segments[i, :size] = 1
    return Batch(input_ids=ids, labels=labels, segments=segments)


def packed(rows: list[list[int]], length: int) -> Batch:
    """The same texts one after the other in one row."""
    ids, labels, segments, positions = [], [], [], []
    for number, row in enumerate(rows, 1):
        size = len(row) - 1
        ids += row[:-1]
        labels += row[1:]
        segments += [number] * size
        positions += range(size)
    pad = length - len(ids)
    tensors = [
        torch.tensor([values + [fill] * pad])
        for values, fill in ((ids, 0), (labels, IGNORE), (segments, 0), (positions, 0))
    ]
    return Batch(input_ids=tensors[0], labels=tensors[1], segments=tensors[2], positions=tensors[3])


def logs(network: NGram, ids: list[int]) -> Tensor:
    network.eval()
    head = NextToken(dim=network.dim, vocab_size=V, table=network.log_probabilities)
    return head.logits(network(Batch(input_ids=torch.tensor([ids]))))[0]


TEXTS = [text for text in texts(V, seed=5) if len(text) > 1]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_counts_do_not_depend_on_batches_or_packing(order: int) -> None:
    expected = shares(counted(TEXTS, order, V), TEXTS[0], order)
    for batches in (
        [batch_of(TEXTS, 14)],
        [batch_of([text], 20) for text in reversed(TEXTS)],
        [packed(TEXTS[:11], 200), packed(TEXTS[11:], 300)],
    ):
        network = NGram(vocab_size=V, order=order)
        for batch in batches:
            assert network.count(batch).item() == 0
        assert logs(network, TEXTS[0]).exp().tolist() == pytest.approx(expected.float().numpy(), abs=1e-6)


def test_only_labels_are_counted() -> None:
    network = NGram(vocab_size=V, order=3)
    batch = batch_of([[1, 2, 3, 4, 5]], 4)
    batch["labels"][0, :2] = IGNORE  # a prompt: it is context alone
    network.count(batch)
    network.share()
    assert network.counts.tolist() == [1, 1]
    assert torch.stack([torch.from_numpy(c) for c in network._packing.unpack(network.grams.numpy())], 1).tolist() == [
        [3, 4, 5],
        [4, 5, 6],
    ]
    # the context 1 2 was never one, and 3 4 was
    assert logs(network, [3, 4]).exp()[1].argmax() == 5


def test_many_batches_are_added_up_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyheads.model.ngram.LEAST", 10)
    network, whole = NGram(vocab_size=V, order=3), NGram(vocab_size=V, order=3)
    for _ in range(3):
        for text in TEXTS:
            network.count(batch_of([text], 14))
        whole.count(batch_of(TEXTS, 14))
        assert len(network._new) < 20
        network.share()
    whole.share()
    assert torch.equal(network.grams, whole.grams)
    assert torch.equal(network.counts, whole.counts)


def test_a_state_dict_has_what_was_counted_so_far_and_is_gone_on_with() -> None:
    whole, first, second = (NGram(vocab_size=V, order=4) for _ in range(3))
    whole.count(batch_of(TEXTS, 14))
    first.count(batch_of(TEXTS[:20], 14))
    second.load_state_dict(first.state_dict())
    second.count(batch_of(TEXTS[20:], 14))
    assert {name: value.tolist() for name, value in second.state_dict().items()} == {
        name: value.tolist() for name, value in whole.state_dict().items()
    }


def test_before_anything_was_counted_every_token_is_as_likely() -> None:
    assert logs(NGram(vocab_size=V, order=3), [1, 2]).exp().tolist() == [[pytest.approx(1 / V)] * V] * 2


def test_reading_in_pieces_is_reading_as_a_whole() -> None:
    network = NGram(vocab_size=V, order=4)
    network.count(batch_of(TEXTS, 14))
    network.eval()
    ids = torch.tensor([max(TEXTS, key=len), list(reversed(max(TEXTS, key=len)))])
    whole = network(Batch(input_ids=ids))
    cache = network.new_cache(2, ids.shape[1])
    pieces = [network(Batch(input_ids=part), cache) for part in ids.split([3, 1, 1, ids.shape[1] - 5], 1)]
    assert torch.equal(torch.cat(pieces, 1), whole)


def test_the_loss_is_that_of_the_log_probabilities() -> None:
    network = NGram(vocab_size=V, order=3)
    network.count(batch_of(TEXTS, 14))
    network.eval()
    head = NextToken(dim=network.dim, vocab_size=V, table=network.log_probabilities)
    batch = batch_of(TEXTS[:5], 14)
    output = head(network(batch), batch)
    model = counted(TEXTS, 3, V)
    expected = -sum(
        shares(model, text[:-1], 3)[range(len(text) - 1), text[1:]].log().sum().item() for text in TEXTS[:5]
    )
    assert output.loss_sum.item() == pytest.approx(expected, rel=1e-5)
    assert output.count == sum(len(text) - 1 for text in TEXTS[:5])


@pytest.mark.parametrize(
    "option",
    [
        {"bias": True},
        {"softcap": 30.0},
        {"z_loss": 1e-4},
        {"label_smoothing": 0.1},
        {"mtp_tokens": 2},
        {"chunked": True},
    ],
)
def test_options_of_the_head_that_nothing_trains_are_refused(option: dict[str, float]) -> None:
    (name, value), *_ = option.items()
    network = NGram(vocab_size=V)
    with pytest.raises(UserError, match=rf"head\.{name}={value}: the network counts"):
        NextToken(dim=network.dim, vocab_size=V, table=network.log_probabilities, **option)  # type: ignore[arg-type]


def test_an_order_below_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.order=0"):
        NGram(vocab_size=V, order=0)
