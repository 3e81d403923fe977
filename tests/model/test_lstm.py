"""Guards states that run over from one text of a row to the next, that padding changes, or that decoding loses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.decoding.generate import generate
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.lstm import LSTM, cut

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "one layer": {"num_layers": 1},
    "projected": {"hidden": 5},
    "untied": {"hidden": 5, "tie_embeddings": False},
    "bidirectional": {"bidirectional": True},
    "bidirectional, untied": {"bidirectional": True, "tie_embeddings": False, "hidden": 5},
}
CAUSAL = [name for name in SHAPES if not name.startswith("bidirectional")]


def network(**settings: Any) -> LSTM:
    """Weights far from where they start, so that a state that should not be there shows."""
    torch.manual_seed(0)
    made = LSTM(**{"vocab_size": 20, "dim": 8} | settings).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.6)
    return made


def by_torch(net: LSTM, text: Tensor) -> Tensor:
    """One text alone, step by step in torch's cell: [T, D]."""
    x = net.embedding(text)
    directions = 1 + net.lstm.bidirectional
    for layer in range(net.lstm.num_layers):
        outputs = []
        for direction in range(directions):
            ends = f"_l{layer}{'_reverse' if direction else ''}"
            cell = nn.LSTMCell(x.shape[1], net.lstm.hidden_size).double()
            cell.load_state_dict(
                {n: getattr(net.lstm, n + ends) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            )
            state, found = None, []
            for step in x.flip(0) if direction else x:
                state = cell(step, state)
                found.append(state[0])
            outputs.append(torch.stack(found[::-1] if direction else found))
        x = torch.cat(outputs, -1)
    return x if net.projection is None else net.projection(x)


@pytest.mark.parametrize("name", SHAPES)
def test_a_text_alone_is_what_torchs_cell_makes_of_it(name: str) -> None:
    net, text = network(**SHAPES[name]), torch.randint(0, 20, (7,))
    found = net(Batch(input_ids=text[None]))
    assert found.shape == (1, 7, net.dim)
    torch.testing.assert_close(found[0], by_torch(net, text), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_packed_and_padded_texts_are_each_alone(name: str, positions: bool) -> None:
    """States and gradients; a text may be whole, one token long, or between padding, and a row may hold nothing."""
    net = network(**SHAPES[name])
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


def test_neighbours_of_one_segment_number_are_parted_by_their_positions() -> None:
    net, ids = network(), torch.randint(0, 20, (1, 5))
    found = net(Batch(input_ids=ids, segments=torch.ones_like(ids), positions=torch.tensor([[0, 1, 2, 0, 1]])))
    torch.testing.assert_close(found, torch.cat([net(Batch(input_ids=part)) for part in ids.split([3, 2], 1)], 1))


def test_pieces_by_hand() -> None:
    """Two rows of 4: a b | c .  and  . d e f. The longest first: d e f, a b, c; then all first tokens, and so on."""
    pieces = cut(torch.tensor([[1, 1, 2, 0], [0, 1, 1, 1]]))
    assert pieces.tokens.tolist() == [5, 0, 2, 6, 1, 7]
    assert pieces.batch_sizes.tolist() == [3, 2, 1]
    assert pieces.rows.tolist() == [1, 0, 0]
    assert pieces.goes_on.tolist() == [True, True, False]
    assert pieces.lasts.tolist() == [True, False, True]
    begun = cut(torch.tensor([[1, 1, 2, 0], [0, 1, 1, 1]]), torch.tensor([[0, 1, 0, 0], [0, 5, 6, 7]]))
    assert begun.goes_on.tolist() == [True, False, False]


@pytest.mark.parametrize("pieces", [[1] * 7, [3, 1, 1, 2]])
@pytest.mark.parametrize("name", CAUSAL)
def test_cached_pieces_are_the_whole_row(name: str, pieces: list[int]) -> None:
    net, ids = network(**SHAPES[name]), torch.randint(0, 20, (2, 7))
    cache = net.new_cache(2, 7)
    with torch.inference_mode():
        found = torch.cat([net(Batch(input_ids=piece), cache) for piece in ids.split(pieces, 1)], 1)
        torch.testing.assert_close(found, net(Batch(input_ids=ids)), rtol=1e-10, atol=1e-10)
    assert cache.length == 7


@pytest.mark.parametrize("name", CAUSAL)
def test_left_padded_texts_with_a_cache_are_each_alone(name: str) -> None:
    """Padding in the second piece too: a row whose text has not begun, or goes on behind it."""
    net, pads = network(**SHAPES[name]), [0, 2, 5]
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


def test_a_cache_keeps_rows_also_twice() -> None:
    net, ids, rows = network(), torch.randint(0, 20, (3, 4)), torch.tensor([2, 0, 0])
    new, cache = torch.tensor([[1], [2], [3]]), net.new_cache(3, 5)
    with torch.inference_mode():
        net(Batch(input_ids=ids), cache)
        cache.keep(rows)
        whole = net(Batch(input_ids=torch.cat((ids[rows], new), 1)))
        torch.testing.assert_close(net(Batch(input_ids=new), cache), whole[:, -1:], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("context", [None, 7])
@pytest.mark.parametrize("name", CAUSAL)
def test_greedy_text_is_each_alone_with_and_without_a_cache(name: str, context: int | None) -> None:
    net = network(**SHAPES[name] | {"dim": 24} | ({"hidden": 21} if "hidden" in SHAPES[name] else {}))
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


def test_no_state_knows_what_comes_after_it_but_in_both_directions() -> None:
    ids, changed = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 3, 5]])
    net = network()
    assert torch.equal(net(Batch(input_ids=ids))[:, :3], net(Batch(input_ids=changed))[:, :3])
    net = network(bidirectional=True)
    assert (net(Batch(input_ids=ids)) - net(Batch(input_ids=changed))).abs().amax(-1).min() > 1e-3


def test_the_kind_is_that_of_the_instance() -> None:
    with torch.device("meta"):
        kinds = [LSTM(vocab_size=20, bidirectional=both).kind for both in (False, True)]
    assert (LSTM.kind, *kinds) == ("causal", "causal", "bidirectional")


@pytest.mark.parametrize(
    ("settings", "dim", "projected"),
    [
        ({}, 8, False),
        ({"hidden": 5}, 8, True),
        ({"hidden": 5, "tie_embeddings": False}, 5, False),
        ({"bidirectional": True}, 8, True),
        ({"bidirectional": True, "tie_embeddings": False}, 16, False),
        ({"bidirectional": True, "hidden": 4}, 8, False),
    ],
)
def test_widths(settings: dict[str, Any], dim: int, projected: bool) -> None:
    net = network(**settings)
    assert (net.dim, net.projection is not None) == (dim, projected)
    assert net(Batch(input_ids=torch.zeros(1, 2, dtype=torch.long))).shape == (1, 2, dim)
    tied = settings.get("tie_embeddings", True)
    assert net.output_weight is (net.embedding.weight if tied else None)


def test_weights_start_as_they_should_and_are_drawn_anew() -> None:
    net = LSTM(vocab_size=500, dim=64, hidden=100, bidirectional=True)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    net.reset_parameters()
    assert net.embedding.weight.std().item() == pytest.approx(0.1, rel=0.02)
    for ends in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        assert getattr(net.lstm, f"bias_ih{ends}").view(4, 100).tolist() == [
            [0.0] * 100,
            [1.0] * 100,
            *[[0.0] * 100] * 2,
        ]
        assert not getattr(net.lstm, f"bias_hh{ends}").any()
        assert getattr(net.lstm, f"weight_hh{ends}").abs().max().item() == pytest.approx(0.1, rel=0.01)
    assert net.projection is not None
    assert not (net.projection.weight == 7).any()


def test_dropout_acts_in_training_alone_with_one_layer_too() -> None:
    for layers in (1, 2):
        net, batch = network(dropout=0.5, num_layers=layers), Batch(input_ids=torch.randint(0, 20, (1, 6)))
        assert torch.equal(net(batch), net(batch))
        net.train()
        assert not torch.equal(net(batch), net(batch))


def test_bfloat16_by_autocast_and_in_full_stays_near() -> None:
    net = network(hidden=5).float()
    batch = Batch(
        input_ids=torch.randint(0, 20, (2, 6)), segments=torch.tensor([[1, 1, 1, 2, 2, 0], [0, 1, 1, 1, 1, 1]])
    )
    exact = net(batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = net(batch)
        near.sum().backward()
        cache = net.new_cache(2, 7)
        net(batch, cache)
        net(Batch(input_ids=batch["input_ids"][:, :1]), cache)
    torch.testing.assert_close(near.float(), exact, rtol=0.1, atol=0.1)
    half = net.bfloat16()(batch)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.15, atol=0.15)


def test_a_copy_has_weights_of_its_own() -> None:
    """As weight averaging makes one: torch keeps the weights of an LSTM in a second list."""
    net, batch = network(), Batch(input_ids=torch.randint(0, 20, (1, 6)))
    other, before = copy.deepcopy(net), net(batch)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(net(batch), before)
    assert not other(batch).any()


def test_both_directions_have_no_cache() -> None:
    with pytest.raises(AssertionError, match="reads each row as a whole"):
        network(bidirectional=True).new_cache(1, 2)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"hidden": 0}, "model.hidden=0: set a whole number of at least 1."),
        ({"num_layers": 0}, "model.num_layers=0: set a whole number of at least 1."),
        ({"dropout": 1.0}, "model.dropout=1.0: set a number from 0 to less than 1."),
        ({"init_std": 0.0}, "model.init_std=0.0: set a number above 0."),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        LSTM(**{"vocab_size": 20} | settings)
    assert str(caught.value) == text
