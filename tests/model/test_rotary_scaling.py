import math
from typing import Any

import pytest
import torch

from manyheads.errors import UserError
from manyheads.model.decoder import Decoder
from manyheads.model.positions import Rotary
from manyheads.model.rotary_scaling import SCALINGS, Scaling, check_scaling, dynamic_base

CPU = torch.device("cpu")
GRID = [
    ("linear", 4.0, {}),
    ("linear", 1.0, {}),
    ("yarn", 8.0, {"beta_fast": 32, "beta_slow": 1}),
    ("yarn", 3.0, {"beta_fast": 6, "beta_slow": 0.5}),
    ("llama3", 8.0, {"low_freq_factor": 1.0, "high_freq_factor": 4.0}),
    ("llama3", 32.0, {"low_freq_factor": 2.0, "high_freq_factor": 9.0}),
]


def theirs(kind: str, factor: float, bounds: dict[str, float], length: int | None = None) -> tuple[torch.Tensor, float]:
    """The frequencies of transformers for heads of width 32, base 10,000 and 512 positions."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": kind, "factor": factor, "rope_theta": 1e4, **bounds}
    if kind in ("yarn", "llama3"):
        rope["original_max_position_embeddings"] = 512
    config = LlamaConfig(hidden_size=64, num_attention_heads=2, max_position_embeddings=512, rope_parameters=rope)
    return ROPE_INIT_FUNCTIONS[kind](config, CPU, seq_len=length)


def plain() -> torch.Tensor:
    return 1e4 ** (-torch.arange(0, 32, 2) / 32)


@pytest.mark.parametrize(("kind", "factor", "bounds"), GRID)
def test_frequencies_and_amplitudes_are_those_of_transformers(
    kind: str, factor: float, bounds: dict[str, float]
) -> None:
    slow, fast = sorted(bounds.values()) if bounds else (0.0, 0.0)
    scaling = Scaling(kind, factor, 512, slow, fast)
    frequencies, amplitude = theirs(kind, factor, bounds)
    found = scaling.frequencies(plain(), 1e4)
    torch.testing.assert_close(found, frequencies, rtol=1e-6, atol=0)
    assert scaling.amplitude == pytest.approx(amplitude, rel=1e-12)
    if factor > 1:
        assert not torch.allclose(found, plain(), rtol=1e-2)


@pytest.mark.parametrize("length", [3, 512, 513, 2000])
def test_the_dynamic_base_is_that_of_transformers(length: int) -> None:
    base = dynamic_base(1e4, torch.tensor(length), Scaling("dynamic", 4.0, 512), 32)
    torch.testing.assert_close(
        base ** (-torch.arange(0, 32, 2) / 32), theirs("dynamic", 4.0, {}, length)[0], rtol=1e-5, atol=0
    )
    assert (base > 1e4 * 1.001) == (length > 512)


def test_yarn_turns_by_the_amplitude_too() -> None:
    """A rotation keeps lengths; YaRN's multiplies queries and keys by 0.1 ln 8 + 1."""
    rotary = Rotary(
        dim=32, head_dim=32, max_positions=None, rotary_base=1e4, scaling=Scaling("yarn", 8.0, 512, 1.0, 32.0)
    )
    x = torch.randn(1, 5, 1, 32)
    turned = rotary.rotation(None, 0, 5, CPU).rotate(x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1) * (0.1 * math.log(8) + 1))


def test_linear_is_a_division_of_positions() -> None:
    kinds = [Scaling(), Scaling("linear", 4.0)]
    one, four = (Rotary(dim=8, head_dim=8, max_positions=None, rotary_base=1e4, scaling=kind) for kind in kinds)
    torch.testing.assert_close(one.rotation(None, 3, 1, CPU).cos, four.rotation(None, 12, 1, CPU).cos)


def test_each_segment_has_the_base_of_its_own_length() -> None:
    """Guards rows whose padding or neighbours count for their length."""
    made = Rotary(dim=8, head_dim=8, max_positions=None, rotary_base=1e4, scaling=Scaling("dynamic", 2.0, 3))
    packed = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 0], [0, 0, 0, 1, 2, 3, 0, 0]])
    rotation = made.rotation(packed, 0, 8, CPU)
    for row, columns in ((0, slice(0, 5)), (0, slice(5, 7)), (1, slice(2, 6))):
        alone = made.rotation(None, 0, columns.stop - columns.start, CPU)
        torch.testing.assert_close(rotation.cos[row, columns], alone.cos)
        torch.testing.assert_close(rotation.sin[row, columns], alone.sin)


def refused(**settings: Any) -> str:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        Decoder(**{"vocab_size": 20} | settings)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def test_numbers_without_use_or_missing_are_refused_by_name() -> None:
    llama = {"rotary_scaling": "llama3", "rotary_factor": 8.0, "original_max_positions": 64}
    assert refused(rotary_scaling="yarm") == (
        "model.rotary_scaling=yarm is not one of none, linear, dynamic, yarn, llama3. Did you mean 'yarn'?"
    )
    assert refused(rotary_factor=2.0) == (
        "model.rotary_factor=2.0 has no use with model.rotary_scaling=none: set model.rotary_scaling to one of linear, "
        "dynamic, yarn, llama3, or model.rotary_factor=null."
    )
    assert "original_max_positions=9 has no use with model.rotary_scaling=linear" in refused(
        rotary_scaling="linear", rotary_factor=2.0, original_max_positions=9
    )
    assert "to one of yarn, llama3" in refused(rotary_slow=2.0)
    assert "needs model.rotary_factor: set it, such as to 8" in refused(rotary_scaling="linear")
    assert "needs model.original_max_positions: set it, such as to 2048" in refused(
        rotary_scaling="yarn", rotary_factor=2
    )
    assert "model.rotary_factor=0.5: set a number of at least 1." in refused(**llama | {"rotary_factor": 0.5})
    assert "model.positions=alibi" in refused(**llama, positions="alibi")
    assert "model.rotary_base=1.0: set a number above 1" in refused(**llama, rotary_base=1.0)
    assert "rotary_slow=5.0 is not below model.rotary_fast=4.0" in refused(**llama, rotary_slow=5.0)
    assert "model.rotary_slow=0.0: set a number above 0." in refused(**llama, rotary_slow=0.0)
    assert "wider than 2" in refused(**llama | {"rotary_scaling": "dynamic"}, dim=8, num_heads=4)


def test_the_defaults_are_the_papers() -> None:
    for kind, fast in (("yarn", 32.0), ("llama3", 4.0)):
        made = Decoder(
            vocab_size=4, dim=8, num_heads=1, rotary_scaling=kind, rotary_factor=2, original_max_positions=64
        )  # type: ignore[arg-type]
        assert check_scaling(made.settings) == Scaling(kind, 2.0, 64, 1.0, fast)
    assert len(SCALINGS) == 5
