import math
from typing import Any

import pytest
import torch

from manyheads.model.decoder import Decoder
from manyheads.model.initialization import INITIALIZATIONS, Shape, initialize

LAYERS, DIM = 8, 64


def stds(**settings: Any) -> dict[str, float]:
    """The standard deviation of each kind of weight; with 8 layers of 64 x 64 it is known to within 1.2 %."""
    torch.manual_seed(0)
    net = Decoder(vocab_size=500, dim=DIM, num_layers=LAYERS, bias=True, norm="layernorm", **settings)
    pooled = {"embedding": net.embedding.weight.flatten()}
    for part in ("attention.query", "attention.output", "feed_forward.up", "feed_forward.down"):
        pooled[part] = torch.cat([block.get_submodule(part).weight.flatten() for block in net.blocks])
        assert all(not block.get_submodule(part).bias.any() for block in net.blocks)
    assert all((module.weight == 1).all() for module in net.modules() if isinstance(module, torch.nn.LayerNorm))
    return {name: weights.std().item() for name, weights in pooled.items()}


@pytest.mark.parametrize(
    ("init", "inside", "residual"),
    [
        ("gpt2", 0.02, 0.02 / math.sqrt(16)),  # two residual layers a block
        ("normal", 0.02, 0.02),
        ("neox", math.sqrt(2 / (5 * 64)), 2 / (8 * math.sqrt(64))),
        ("zero_residual", 0.02, 0.0),
    ],
)
def test_standard_deviations_are_the_papers(init: Any, inside: float, residual: float) -> None:
    found = stds(init=init)
    for part in ("embedding", "attention.query", "feed_forward.up"):
        assert found[part] == pytest.approx(inside, rel=0.03)
    for part in ("attention.output", "feed_forward.down"):
        assert found[part] == pytest.approx(residual, rel=0.03)


def test_glorot_is_uniform_within_its_bound() -> None:
    torch.manual_seed(0)
    net = Decoder(vocab_size=50, dim=DIM, init="glorot", activation="relu")
    up = net.blocks[0].get_submodule("feed_forward.up").weight  # 256 x 64
    bound = math.sqrt(6 / (256 + 64))
    assert up.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert up.abs().max() <= bound
    assert up.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_t5_starts_by_the_number_of_inputs() -> None:
    """Width 64, heads of 16; 256 inputs of the way down. Its queries: tests/model/test_relative_positions.py."""
    found = stds(init="t5", ff_dim=256, activation="relu")
    assert found == {
        "embedding": pytest.approx(1.0, rel=0.03),
        "attention.query": pytest.approx(1 / 8, rel=0.03),
        "attention.output": pytest.approx(1 / 8, rel=0.03),
        "feed_forward.up": pytest.approx(1 / 8, rel=0.03),
        "feed_forward.down": pytest.approx(1 / 16, rel=0.03),
    }


def test_std_is_a_setting_and_the_seed_decides() -> None:
    assert stds(init="gpt2", init_std=0.1)["embedding"] == pytest.approx(0.1, rel=0.03)
    assert stds() == stds()


def test_learned_positions_are_drawn_too() -> None:
    """nn.Embedding's own start is N(0, 1), fifty times too wide: guards a table that is forgotten."""
    torch.manual_seed(0)
    net = Decoder(vocab_size=50, dim=DIM, positions="learned", max_positions=200)
    assert net.get_parameter("positions.table.weight").std().item() == pytest.approx(0.02, rel=0.03)


def test_every_scheme_can_be_chosen() -> None:
    assert len(INITIALIZATIONS) == 6
    for init in INITIALIZATIONS:
        Decoder(vocab_size=5, dim=8, num_layers=1, init=init)  # type: ignore[arg-type]


def test_parts_of_a_layer_count_and_all_is_drawn_anew() -> None:
    """A block in which three parts write, and norms and biases that were trained."""
    net = Decoder(vocab_size=5, dim=256, num_layers=3, norm="layernorm", bias=True)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    initialize(net, "gpt2", Shape(dim=256, num_layers=3, std=0.3, per_layer=3))
    down = net.blocks[1].get_submodule("feed_forward.down")
    assert down.weight.std().item() == pytest.approx(0.1, rel=0.02)
    assert not down.bias.any()
    assert (net.final_norm.weight == 1).all()
    assert not net.final_norm.bias.any()
