"""Guards: positions that come back in another's place, a balance that padding moves, an expert without a gradient."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError
from manyheads.model.decoder import Decoder
from manyheads.model.feed_forward import ACTIVATIONS
from manyheads.model.mixture_of_experts import MixtureOfExperts, load_balance, router_z_loss
from manyheads.optim.groups import parameter_groups

E, D, F = 5, 8, 12


def mixture(count: int = 2) -> MixtureOfExperts:
    torch.manual_seed(0)
    made = MixtureOfExperts(
        dim=D, ff_dim=F, activation=ACTIVATIONS["swiglu"], bias=False, num_experts=E, experts_per_token=count
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def network(**settings: Any) -> Decoder:
    torch.manual_seed(0)
    made = Decoder(
        **{"vocab_size": 20, "dim": D, "num_heads": 2, "num_layers": 2, "ff_dim": F, "init_std": 0.4, "num_experts": E}
        | settings
    )
    return made.double()


def theirs(layer: MixtureOfExperts) -> Any:
    """transformers' block with the same weights."""
    from transformers.models.mixtral.modeling_mixtral import MixtralConfig, MixtralSparseMoeBlock

    config = MixtralConfig(
        hidden_size=D, intermediate_size=F, num_local_experts=E, num_experts_per_tok=layer.experts_per_token
    )
    config._experts_implementation = "eager"
    block = MixtralSparseMoeBlock(config)
    weights = {name: value.detach() for name, value in layer.named_parameters()}
    both = [
        torch.cat([weights[f"experts.{i}.gate.weight"], weights[f"experts.{i}.up.weight"]]) for i in range(E)
    ]  # [2 F, D]
    block.load_state_dict(
        {
            "gate.weight": weights["router.weight"],
            "experts.gate_up_proj": torch.stack(both),
            "experts.down_proj": torch.stack([weights[f"experts.{i}.down.weight"] for i in range(E)]),
        }
    )
    return block


@pytest.mark.parametrize("count", [2, 3, E])
def test_equals_mixtrals_block(count: int) -> None:
    layer = mixture(count)
    x = torch.randn(3, 7, D, requires_grad=True)
    wanted, found = theirs(layer)(x), layer(x)
    assert wanted.std() > 0.5
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), x), torch.autograd.grad(wanted.sum(), x))


def test_a_single_choice_keeps_its_probability() -> None:
    """Renormalised it would be 1, and the loss would teach the router nothing (Switch Transformer, equation 2)."""
    layer, x = mixture(1), torch.randn(1, 4, D)
    probabilities = layer.router(x).softmax(-1)[0]
    for place, (value, expert) in enumerate(zip(*probabilities.max(-1), strict=True)):
        torch.testing.assert_close(layer(x)[0, place], value * layer.experts[int(expert)](x[0, place]))
    layer(x).sum().backward()
    assert layer.router.weight.grad is not None
    assert layer.router.weight.grad.abs().max() > 1e-3


def test_every_expert_has_a_gradient_even_if_nobody_chose_it() -> None:
    """With ranks, a parameter without one stops the run."""
    layer = mixture()
    layer(torch.randn(1, 1, D)).sum().backward()
    grads = [parameter.grad for parameter in layer.parameters()]
    assert all(grad is not None for grad in grads)
    assert sum(bool(expert.up.weight.grad.any()) for expert in layer.experts) == 2  # type: ignore[union-attr,operator]


def case() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    learned = torch.ones(3, 6, dtype=torch.bool)
    learned[0, 4:] = learned[2, :2] = False
    return torch.randn(3, 6, E), learned


@pytest.mark.parametrize("count", [1, 2, 3])
def test_balance_is_mixtrals(count: int) -> None:
    """transformers' own loss, with its mask; over rows, one call of it for each."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    def oracle(logits: Tensor, mask: Tensor) -> float:
        return float(load_balancing_loss_func((logits.flatten(0, 1),), E, count, mask.long()))

    logits, learned = case()
    over_batch = load_balance(logits, learned, count, by_row=False) / learned.sum()
    assert over_batch.item() == pytest.approx(oracle(logits, learned), rel=1e-6)
    sums = [oracle(logits[i : i + 1], learned[i : i + 1]) * int(learned[i].sum()) for i in range(3)]
    assert load_balance(logits, learned, count, by_row=True).item() == pytest.approx(sum(sums), rel=1e-6)
    assert abs(sum(sums) / 14 - over_batch.item()) > 0.01


def test_balance_by_hand() -> None:
    """Even probabilities: E sum_i f_i / E = the number of choices. All on one expert with certainty: E."""
    learned = torch.ones(1, 4, dtype=torch.bool)
    for by_row in (True, False):
        assert load_balance(torch.zeros(1, 4, E), learned, 3, by_row=by_row).item() == pytest.approx(4 * 3)
        sure = torch.full((1, 4, E), -1e4).index_fill_(2, torch.tensor([2]), 0.0)
        assert load_balance(sure, learned, 1, by_row=by_row).item() == pytest.approx(4 * E)
        assert load_balance(sure, ~learned, 1, by_row=by_row).item() == 0.0


def test_router_z_loss_by_hand() -> None:
    """log sum exp of E zeros is ln E."""
    learned = torch.tensor([[True, False, True]])
    assert router_z_loss(torch.zeros(1, 3, E), learned).item() == pytest.approx(2 * torch.tensor(E).log().item() ** 2)


def test_the_losses_of_a_network_are_means_over_layers() -> None:
    net = network(router_z_loss=0.25, load_balance=0.5)
    ids = torch.randint(0, 20, (2, 6))
    labels = ids.clone().index_fill_(1, torch.tensor([5]), IGNORE)
    batch = Batch(input_ids=ids, labels=labels)
    seen: list[Tensor] = []
    for block in net.blocks:
        block.feed_forward.router.register_forward_hook(lambda _, __, out: seen.append(out.view(2, 6, E)))  # type: ignore[union-attr]
    net(batch)
    auxiliary = net.auxiliary_losses(batch)
    assert auxiliary is not None
    even = torch.stack([load_balance(each, labels != IGNORE, 2, by_row=False) for each in seen]).mean()
    squares = torch.stack([router_z_loss(each, labels != IGNORE) for each in seen]).mean()
    torch.testing.assert_close(auxiliary.total, 0.5 * even + 0.25 * squares)
    assert {name: (term.loss_sum.item(), term.count.item()) for name, term in auxiliary.terms.items()} == {
        "load_balance": (pytest.approx(even.item()), 10),
        "router_z_loss": (pytest.approx(squares.item()), 10),
    }
    (gradient,) = torch.autograd.grad(auxiliary.total, net.blocks[0].feed_forward.router.weight)  # type: ignore[union-attr]
    assert gradient.abs().max() > 0
    with pytest.raises(AssertionError, match="asked for once"):
        net.auxiliary_losses(batch)
    assert network(num_experts=None).auxiliary_losses(batch) is None


def test_padding_moves_neither_states_nor_losses() -> None:
    net = network()
    ids = torch.randint(0, 20, (1, 6))
    short = Batch(input_ids=ids, labels=ids)
    padded = Batch(
        input_ids=torch.nn.functional.pad(ids, (0, 3), value=7),
        labels=torch.nn.functional.pad(ids, (0, 3), value=IGNORE),
        positions=torch.arange(9)[None],
        segments=torch.tensor([[1] * 6 + [0] * 3]),
    )
    losses = []
    for batch in (short, padded):
        states = net(batch)[:, :6]
        losses.append((states, net.auxiliary_losses(batch).total))  # type: ignore[union-attr]
    torch.testing.assert_close(losses[0], losses[1])


def test_a_cache_gives_what_a_whole_row_gives() -> None:
    net = network().eval()
    ids = torch.randint(0, 20, (2, 7))
    cache = net.new_cache(2, 7)
    parts = [net(Batch(input_ids=part), cache) for part in ids.split([3, 1, 3], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), net(Batch(input_ids=ids)))
    assert all(block.feed_forward._logits is None for block in net.blocks)  # type: ignore[union-attr]


def test_a_layer_that_is_run_again_in_backward_keeps_nothing() -> None:
    """Activation checkpointing: what a second pass keeps would hold every layer's activations."""
    layer, x = mixture(), torch.randn(1, 4, D, requires_grad=True)
    layer.expect()
    output = checkpoint(layer, x, use_reentrant=False)
    assert isinstance(output, Tensor)
    balance = load_balance(layer.take_logits(), torch.ones(1, 4, dtype=torch.bool), 2, by_row=False)
    (output.sum() + balance).backward()
    assert layer._logits is None
    found, x.grad = x.grad, None
    layer.expect()
    (layer(x).sum() + load_balance(layer.take_logits(), torch.ones(1, 4, dtype=torch.bool), 2, by_row=False)).backward()
    torch.testing.assert_close(found, x.grad)


def test_experts_are_matrices_of_hidden_layers_and_start_as_such() -> None:
    """So Muon takes each of them, and the ones that write to the residual stream start smaller."""
    net = network(num_layers=8, dim=64, num_heads=2, ff_dim=64)
    matrices = {id(parameter) for parameter in parameter_groups(net).matrices}
    layer = net.blocks[0].feed_forward
    assert all(id(parameter) in matrices for parameter in layer.parameters())
    experts = list(layer.experts)  # type: ignore[arg-type]
    assert experts[0].up.weight.std().item() == pytest.approx(0.4, rel=0.05)
    assert experts[0].down.weight.std().item() == pytest.approx(0.4 / 4, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_experts": 0}, "model.num_experts=0: set a whole number of at least 1."),
        ({"experts_per_token": 6}, "model.experts_per_token=6 is more than model.num_experts=5: set it to at most 5"),
        ({"load_balance": -1}, "model.load_balance=-1"),
        ({"balance_over": "rows"}, "model.balance_over=rows is not one of batch, row. Did you mean 'row'?"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught:
        network(**settings)
    assert text in str(caught.value)
