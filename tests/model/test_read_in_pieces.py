"""What any network over rows of texts promises: a text is alone in its row, and read in pieces it is what it is as a whole.

Guards states that run over from one text of a row to the next, that padding changes, or that decoding loses.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from manyheads.batch import IGNORE, Batch
from manyheads.decoding.generate import generate
from manyheads.head.next_token import NextToken
from manyheads.model.bag_of_embeddings import BagOfEmbeddings
from manyheads.model.feedforward import Feedforward
from manyheads.model.gru import GRU
from manyheads.model.linear_attention import LinearAttention
from manyheads.model.lstm import LSTM
from manyheads.model.rnn import RNN
from manyheads.model.textcnn import TextCNN

NETWORKS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "LSTM": (LSTM, {}),
    "LSTM, one layer": (LSTM, {"num_layers": 1}),
    "LSTM, projected": (LSTM, {"hidden": 5}),
    "LSTM, untied": (LSTM, {"hidden": 5, "tie_embeddings": False}),
    "LSTM, both directions": (LSTM, {"bidirectional": True}),
    "GRU": (GRU, {}),
    "GRU, projected": (GRU, {"hidden": 5}),
    "GRU, both directions": (GRU, {"bidirectional": True}),
    "RNN": (RNN, {}),
    "RNN, projected": (RNN, {"hidden": 5}),
    "RNN, both directions": (RNN, {"bidirectional": True}),
    "window": (Feedforward, {"window": 3, "hidden": 6}),
    "window of one": (Feedforward, {"window": 1, "hidden": 6}),
    "window, direct": (
        Feedforward,
        {"window": 4, "hidden": 6, "num_layers": 2, "direct": True, "tie_embeddings": False},
    ),
    "window, untied": (Feedforward, {"window": 2, "hidden": 6, "tie_embeddings": False}),
    "window longer than any row": (Feedforward, {"window": 20, "hidden": 6}),
    "linear attention": (LinearAttention, {"num_heads": 2, "num_layers": 2}),
    "linear attention, chunks": (LinearAttention, {"num_heads": 2, "num_layers": 2, "chunk": 3, "norm": "layernorm"}),
    "bag": (BagOfEmbeddings, {"ngrams": 3, "buckets": 50}),
    "bag of tokens": (BagOfEmbeddings, {"ngrams": 1}),
    "filters in both directions": (TextCNN, {"widths": [1, 2, 5], "filters": 4}),
}
VARIED = {
    "LSTM, one layer",
    "LSTM, projected",
    "GRU, projected",
    "RNN, projected",
    "RNN, both directions",
    "window, untied",
}
"""Of which others are tried by default."""
ALL = [pytest.param(name, marks=[pytest.mark.slow] * (name in VARIED)) for name in NETWORKS]
CAUSAL = [one for one, name in zip(ALL, NETWORKS, strict=True) if "both" not in name]


def network(name: str, **more: Any) -> Any:
    """Weights far from where they start, so that a state that should not be there shows."""
    torch.manual_seed(0)
    kind, settings = NETWORKS[name]
    made = kind(**{"vocab_size": 20, "dim": 8} | settings | more).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.6)
    return made


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_packed_and_padded_texts_are_each_alone(name: str, positions: bool) -> None:
    """States and gradients; a text may be whole, one token long, or between padding, and a row may hold nothing."""
    net = network(name)
    segments = torch.tensor(
        [[1, 1, 1, 2, 2, 3, 3, 0], [0, 0, 1, 1, 1, 1, 0, 0], [0] * 8, [1] * 8, [1, 2, 3, 0, 4, 4, 4, 0]]
    )
    ids = torch.randint(0, 20, segments.shape)
    places = torch.tensor([[(row[: i + 1] == row[i]).sum() - 1 for i in range(8)] for row in segments])
    batch = Batch(input_ids=ids, segments=segments, **({"positions": places} if positions else {}))
    head = NextToken(dim=net.dim, vocab_size=20).double()
    labels = torch.where(segments > 0, ids.roll(1, 1), IGNORE)
    losses = head.losses(net(batch), batch | Batch(labels=labels))
    losses.sum().backward()
    gradients = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    net.zero_grad()
    total, found = torch.zeros(()).double(), net(batch)
    for row, kinds in enumerate(segments.tolist()):
        for kind in set(kinds) - {0}:
            inside = segments[row] == kind
            alone = net(Batch(input_ids=ids[row][inside][None]))
            torch.testing.assert_close(found[row][inside], alone[0], rtol=1e-10, atol=1e-10)
            total = total + head.losses(alone, Batch(labels=labels[row][inside][None])).sum()
    total.backward()
    assert total.item() == pytest.approx(losses.sum().item(), rel=1e-10)
    for one, other in zip(gradients, [p.grad for p in net.parameters() if p.grad is not None], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["LSTM", "window"])
def test_neighbours_of_one_segment_number_are_parted_by_their_positions(name: str) -> None:
    net, ids = network(name), torch.randint(0, 20, (1, 5))
    found = net(Batch(input_ids=ids, segments=torch.ones_like(ids), positions=torch.tensor([[0, 1, 2, 0, 1]])))
    torch.testing.assert_close(found, torch.cat([net(Batch(input_ids=part)) for part in ids.split([3, 2], 1)], 1))


@pytest.mark.parametrize("pieces", [[1] * 7, [3, 1, 1, 2]])
@pytest.mark.parametrize("name", CAUSAL)
def test_cached_pieces_are_the_whole_row(name: str, pieces: list[int]) -> None:
    net, ids = network(name), torch.randint(0, 20, (2, 7))
    cache = net.new_cache(2, 7)
    with torch.inference_mode():
        found = torch.cat([net(Batch(input_ids=piece), cache) for piece in ids.split(pieces, 1)], 1)
        torch.testing.assert_close(found, net(Batch(input_ids=ids)), rtol=1e-10, atol=1e-10)
    assert cache.length == 7


@pytest.mark.parametrize("name", CAUSAL)
def test_left_padded_texts_with_a_cache_are_each_alone(name: str) -> None:
    """Padding in the second piece too: a row whose text has not begun, or goes on behind it."""
    net, pads = network(name), [0, 2, 5]
    ids = torch.randint(0, 20, (3, 8))
    places = torch.arange(8) - torch.tensor(pads)[:, None]
    batch = Batch(input_ids=ids, positions=places.clamp(min=0), segments=(places >= 0).long())
    cache = net.new_cache(3, 8)
    with torch.inference_mode():
        found = [net(Batch(**{key: value[:, a:b] for key, value in batch.items()}), cache) for a, b in ((0, 4), (4, 7))]
        found.append(net(Batch(input_ids=ids[:, 7:], positions=places[:, 7:]), cache))
        for row, pad in enumerate(pads):
            alone = net(Batch(input_ids=ids[row : row + 1, pad:]))[0]
            torch.testing.assert_close(torch.cat(found, 1)[row, pad:], alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_cache_keeps_rows_also_twice(name: str) -> None:
    net, ids, rows = network(name), torch.randint(0, 20, (3, 4)), torch.tensor([2, 0, 0])
    new, cache = torch.tensor([[1], [2], [3]]), net.new_cache(3, 5)
    with torch.inference_mode():
        net(Batch(input_ids=ids), cache)
        cache.keep(rows)
        whole = net(Batch(input_ids=torch.cat((ids[rows], new), 1)))
        torch.testing.assert_close(net(Batch(input_ids=new), cache), whole[:, -1:], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("context", [None, 7])
@pytest.mark.parametrize("name", CAUSAL)
def test_greedy_text_is_each_alone_with_and_without_a_cache(name: str, context: int | None) -> None:
    net = network(name, dim=24, **({"hidden": 21} if "hidden" in NETWORKS[name][1] else {}))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=2.0)  # of smaller weights come texts of one token over and over
    head = NextToken(dim=net.dim, vocab_size=20, init_std=1.0, bias=True).double()
    with torch.no_grad():
        head.get_parameter("bias")[0] = -20.0  # no text ends before its time
    prompts = [[3, 5, 7, 2], [], [11], [4, 4]]
    settings: dict[str, Any] = {"end_id": 0, "max_new_tokens": 12, "context": context}
    found = generate(net, head, prompts, **settings)
    assert found == generate(net, head, prompts, use_cache=False, **settings)
    assert found == [generate(net, head, [prompt], **settings)[0] for prompt in prompts]
    assert max(map(len, found)) == 12
    assert len({tuple(row) for row in found}) == len(prompts) or context
