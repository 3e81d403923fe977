"""Guards decoding without module calls: it must compute what the modules compute, and honour their hooks."""

from typing import Any

import pytest
import torch
from torch import nn

from manyheads.model.decoder import Decoder
from manyheads.model.plain import plain
from manyheads.model.regions import compile_blocks

SHAPES: list[dict[str, Any]] = [
    {},
    {"norm": "layernorm", "positions": "learned", "max_positions": 16, "bias": True, "activation": "gelu_tanh"},
    {"norm_position": "post", "positions": "sinusoidal", "activation": "relu", "dropout": 0.5},
    {"block": "parallel", "positions": "alibi", "num_kv_heads": 1},
    {"block": "parallel_one_norm", "positions": "none", "attention_softcap": 5.0, "scale_embeddings": True},
    {"qk_norm": True, "window": 3, "full_every": 2, "sinks": True},
    {"num_experts": 3},
    {"rotary_scaling": "dynamic", "rotary_factor": 2.0, "original_max_positions": 6},
]


def network(**settings: Any) -> Decoder:
    torch.manual_seed(0)
    return Decoder(vocab_size=13, dim=16, num_layers=2, num_heads=2, init_std=0.5, **settings).eval()


@torch.inference_mode()
def states(read: Any, made: Decoder) -> torch.Tensor:
    """Hidden states of three ragged rows, read in one go and then token by token."""
    cache = made.new_cache(3, 9)
    ids = torch.arange(27).view(3, 9) % 13
    pads = torch.tensor([0, 2, 1])[:, None]
    places = torch.arange(9) - pads
    batch = {"input_ids": ids, "positions": places.clamp(min=0), "segments": (places >= 0).long()}
    steps = [(0, 4), *((i, i + 1) for i in range(4, 9))]
    return torch.cat([read({k: v[:, a:b] for k, v in batch.items()}, cache) for a, b in steps], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", SHAPES, ids=lambda settings: "-".join(settings) or "default")
def test_every_kind_of_network_computes_the_same(settings: dict[str, Any], dtype: torch.dtype) -> None:
    made = network(**settings).to(dtype)
    light = made.for_decoding()
    assert not isinstance(light, nn.Module)
    assert not any(isinstance(block, nn.Module) for block in light.blocks)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(states(light, made), states(made, made), rtol=tolerance, atol=tolerance)


def test_under_autocast_it_computes_the_same() -> None:
    made = network()
    with torch.autocast("cpu", torch.bfloat16):
        light, whole = states(made.for_decoding(), made), states(made, made)
    torch.testing.assert_close(light, whole, rtol=0.05, atol=0.05)
    assert not torch.equal(whole, states(made, made))


def test_weights_are_those_of_the_moment() -> None:
    """Training goes on between two sample texts; what was made for the first does not serve for the second."""
    made = network()
    made.for_decoding()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(2)
    torch.testing.assert_close(states(made.for_decoding(), made), states(made, made), rtol=1e-5, atol=1e-5)


def test_a_module_that_is_watched_compiled_or_unknown_stays() -> None:
    class Own(nn.Linear):
        pass

    hooked, compiled, replaced = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    heard = []
    hooked.register_forward_hook(lambda *args: heard.append(args))
    compiled.compile(backend="eager")
    replaced.forward = lambda x: x
    for module in (hooked, compiled, replaced, Own(2, 2)):
        assert plain(module) is module
    light = plain(nn.ModuleList([nn.Linear(2, 2), hooked]))
    assert not isinstance(light[0], nn.Module)
    light[1](torch.ones(2))
    assert len(heard) == 1
    made = network()
    compile_blocks(made)
    assert list(made.for_decoding().blocks) == list(made.blocks)
