"""Guards what stands for a part in decoding: it computes what the part computes."""

from typing import Any

import pytest
import torch

from manyheads.decoding.linear import linear as product
from manyheads.model.attention import Attention
from manyheads.model.decoder import Decoder
from manyheads.model.norm import RMSNorm
from manyheads.model.plain import plain
from manyheads.model.plain_parts import JointAttention, Linear, MirroredNorm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mirrored_norm_is_the_norm(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    norm = RMSNorm(24, eps=1e-5).to(dtype)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 5, 24, dtype=dtype) + 2  # a mean that is not 0
    expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight
    found = MirroredNorm(norm, norm)(x)
    torch.testing.assert_close(found, expected, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_a_mirrored_norm_leaves_another_precision_to_the_norm() -> None:
    norm = RMSNorm(8, eps=1e-5)
    x = torch.randn(2, 8).bfloat16()
    assert torch.equal(MirroredNorm(norm, norm)(x), norm(x))


def attention(**settings: Any) -> Attention:
    torch.manual_seed(0)
    return Attention(**{"dim": 16, "num_heads": 4, "num_kv_heads": 2, "bias": True, "dropout": 0.0} | settings)


def test_small_matrices_are_joined_and_large_ones_are_not() -> None:
    assert isinstance(plain(attention()), JointAttention)
    assert not isinstance(plain(attention(dim=512, num_heads=8, num_kv_heads=8)), JointAttention)
    assert not isinstance(plain(attention(qk_norm=1e-5)), JointAttention)


def test_a_linear_layer_is_its_product() -> None:
    layer = torch.nn.Linear(5, 7)
    x = torch.randn(2, 5)
    assert torch.equal(Linear(layer.weight, layer.bias)(x), product(x, layer.weight, layer.bias))


def test_an_attention_with_a_watched_part_calls_it() -> None:
    made, heard = Decoder(vocab_size=13, dim=16, num_layers=1, num_heads=2).eval(), []
    made.blocks[0].attention.key.register_forward_hook(lambda *args: heard.append(1))
    with torch.inference_mode():
        made.for_decoding()({"input_ids": torch.arange(6).view(2, 3)}, None)
    assert len(heard) == 1
