"""Guards: a parameter counted twice or in no part, and FLOPs that are not those that torch counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from manyheads.batch import Batch
from manyheads.build import CONF_DIR
from manyheads.head.next_token import NextToken
from manyheads.model.bag_of_embeddings import BagOfEmbeddings
from manyheads.model.decoder import Decoder
from manyheads.model.encoder import Encoder
from manyheads.model.encoder_decoder import EncoderDecoder
from manyheads.model.feedforward import Feedforward
from manyheads.model.gru import GRU
from manyheads.model.linear_attention import LinearAttention
from manyheads.model.lstm import LSTM
from manyheads.model.memory import sources
from manyheads.model.parts import Count, count_flops, count_parameters
from manyheads.model.recurrent import Recurrent
from manyheads.model.regions import recompute_blocks
from manyheads.model.rnn import RNN
from manyheads.model.seq2seq_lstm import Seq2SeqLSTM
from manyheads.model.textcnn import TextCNN

GRID: list[dict[str, Any]] = [
    {},
    {"num_kv_heads": 2, "tie_embeddings": False},
    {"activation": "relu", "norm": "layernorm", "norm_position": "post", "positions": "sinusoidal", "bias": True},
    {"activation": "gelu_tanh", "positions": "learned", "max_positions": 16, "norm": "layernorm", "dropout": 0.1},
    {"block": "parallel", "positions": "alibi", "qk_norm": True, "window": 4, "full_every": 2},
    {"block": "parallel_one_norm", "attention_softcap": 20.0},
    {"sinks": True, "num_kv_heads": 2},
    {"mtp_tokens": 2, "mtp_weight": 0.5},
]


def make(*, mtp_tokens: int = 0, mtp_weight: float = 1.0, **settings: Any) -> nn.ModuleDict:
    network = Decoder(vocab_size=40, dim=16, num_layers=3, num_heads=4, **settings)
    head = NextToken(
        dim=16, vocab_size=40, weight=network.output_weight, bias=True, mtp_tokens=mtp_tokens, mtp_weight=mtp_weight
    )
    return nn.ModuleDict({"network": network, "head": head})


def flops_by_torch(whole: nn.ModuleDict, training: bool) -> float:
    """What torch's own counter sees, of the plain path of attention (fused ones compute some products twice), a token."""
    network, head = whole["network"], whole["head"]
    assert isinstance(head, NextToken)
    ids = torch.zeros(2, 12, dtype=torch.int64)
    batch = Batch(input_ids=ids, labels=ids, **sources(network, 2, 12))
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
        torch.set_grad_enabled(training),
    ):
        hidden = network(batch)
        if training:
            head.objective(hidden, batch).total.backward()
        else:
            head.scores(hidden, batch)
    return counter.get_total_flops() / ids.numel()


def test_gpt2_by_hand() -> None:
    """GPT-2's smallest: 124,439,808 in all (its released weights), tied embedding once."""
    with torch.device("meta"):
        network = Decoder(
            vocab_size=50257, dim=768, num_layers=12, num_heads=12, activation="gelu_tanh", norm="layernorm",
            positions="learned", max_positions=1024, bias=True,
        )  # fmt: skip
        head = NextToken(dim=768, vocab_size=50257, weight=network.output_weight)
    found = count_parameters(nn.ModuleDict({"network": network, "head": head}))
    assert {part: count.total for part, count in found.items()} == {
        "embedding": (50257 + 1024) * 768,
        "attention": 12 * 4 * (768 * 768 + 768),
        "feed-forward": 12 * (2 * 768 * 3072 + 3072 + 768),
        "norms": 25 * 2 * 768,
    }
    assert sum(count.total for count in found.values()) == 124_439_808


@pytest.mark.parametrize(
    ("choice", "number"),
    [
        pytest.param("llama_1b", 1_235_814_400, marks=pytest.mark.slow),
        ("llama_8b", 8_030_261_248),
        ("gpt2", 124_439_808),
    ],
)
def test_presets_have_what_transformers_has(choice: str, number: int) -> None:
    """Against the class of that shape, built without memory, and the number that is published."""
    transformers = pytest.importorskip("transformers")
    settings = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "model" / f"{choice}.yaml"))
    assert isinstance(settings, dict)
    del settings["_target_"]
    vocab_size = 50257 if choice == "gpt2" else 128256
    with torch.device("meta"):
        network = Decoder(vocab_size=vocab_size, **settings)  # type: ignore[arg-type]
        head = NextToken(dim=network.dim, vocab_size=vocab_size, weight=network.output_weight)
        theirs = transformers.AutoModelForCausalLM.from_config(_config(transformers, choice, vocab_size, settings))
    found = count_parameters(nn.ModuleDict({"network": network, "head": head}))
    assert sum(count.total for count in found.values()) == number == theirs.num_parameters()


def _config(transformers: Any, choice: str, vocab_size: int, settings: dict[Any, Any]) -> Any:
    if choice == "gpt2":
        return transformers.GPT2Config()
    return transformers.LlamaConfig(
        vocab_size=vocab_size, hidden_size=settings["dim"], intermediate_size=settings["ff_dim"],
        num_hidden_layers=settings["num_layers"], num_attention_heads=settings["num_heads"],
        num_key_value_heads=settings["num_kv_heads"], tie_word_embeddings=settings.get("tie_embeddings", True),
    )  # fmt: skip


@pytest.mark.parametrize("settings", GRID)
def test_every_parameter_is_in_one_part(settings: dict[str, Any]) -> None:
    whole = make(**settings)
    found = count_parameters(whole)
    assert "other" not in found
    assert sum(count.total for count in found.values()) == sum(p.numel() for p in whole.parameters())
    assert all(count.total == count.active for count in found.values())
    assert found["head"].total == 40 + (0 if whole["network"].output_weight is not None else 40 * 16)  # type: ignore


def test_experts_of_which_a_token_uses_a_share() -> None:
    """Parameters and FLOPs of a module that says that a token uses 2 of its 8 experts; the router is used whole."""

    class Experts(nn.Module):
        active_share = 2 / 8

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(8, 5, 3))

    whole = nn.ModuleDict({"router": nn.Linear(5, 8, bias=False), "experts": Experts()})
    assert count_parameters(whole) == {"other": Count(160, 70)}
    assert count_flops(whole, 9).forward == 2 * 70


@pytest.mark.parametrize("settings", GRID)
def test_flops_are_those_that_torch_counts(settings: dict[str, Any]) -> None:
    """Exactly, forward and backward."""
    whole = make(**settings)
    found = count_flops(whole, 12)
    assert found.forward == flops_by_torch(whole, training=False)
    assert found.training == flops_by_torch(whole, training=True)
    assert found.recomputed == 0


@pytest.mark.parametrize("experts_per_token", [1, 2])
def test_a_mixture_of_experts_by_hand_and_as_torch_counts(experts_per_token: int) -> None:
    """Of 4 experts a token uses 1 or 2; its router it uses whole. One layer's: 3 matrices of 16 x 24 for an expert."""
    whole = make(num_experts=4, experts_per_token=experts_per_token, ff_dim=24)
    found = count_parameters(whole)
    expert = 3 * 3 * 16 * 24
    assert found["feed-forward"] == Count(4 * expert, experts_per_token * expert)
    assert found["router"] == Count(3 * 16 * 4, 3 * 16 * 4)
    assert sum(count.total for count in found.values()) == sum(p.numel() for p in whole.parameters())
    flops = count_flops(whole, 12)
    attention = 3 * (4 * 16 * 16 * 2 + 4 * 16 * 12)
    assert flops.forward == attention + 2 * experts_per_token * expert + 2 * 3 * 16 * 4 + 2 * 16 * 40
    assert flops.forward == flops_by_torch(whole, training=False)


def test_tokens_ahead_cost_training_alone() -> None:
    """Each is one more product with the output matrix, 16 x 40, and one with a layer of its own, 16 x 16."""
    plain, more = count_flops(make(), 12), count_flops(make(mtp_tokens=2), 12)
    assert more.forward == plain.forward
    assert more.training - plain.training == 3 * 2 * 2 * (16 * 40 + 16 * 16)
    assert count_parameters(make(mtp_tokens=2))["tokens ahead"] == Count(2 * 256, 2 * 256)


def test_flops_that_checkpointing_adds() -> None:
    """Half of the blocks' forward pass at every second of four blocks; nothing of the head's."""
    whole = make()
    head = 2 * 40 * 16
    assert isinstance(whole["network"], nn.Module)
    recompute_blocks(whole["network"], 3)  # the last of three
    found = count_flops(whole, 12)
    assert found.recomputed * 3 == found.forward - head


@pytest.mark.parametrize("settings", [{}, {"num_kv_heads": 2, "bias": True, "norm_position": "post"}])
def test_an_encoder_decoder_as_torch_counts(settings: dict[str, Any]) -> None:
    """A token of the text and one of a source of the same length: each layer's matrices once, and in the decoder's layers
    attention twice."""
    network = EncoderDecoder(vocab_size=40, dim=16, num_encoder_layers=2, num_layers=3, num_heads=4, **settings)
    whole = nn.ModuleDict({"network": network, "head": NextToken(dim=16, vocab_size=40, weight=network.output_weight)})
    found, parts = count_flops(whole, 12), count_parameters(whole)
    assert "other" not in parts
    assert sum(count.total for count in parts.values()) == sum(p.numel() for p in whole.parameters())
    assert found.forward == flops_by_torch(whole, training=False)
    assert found.training == flops_by_torch(whole, training=True)
    recompute_blocks(network, 1)
    head = 2 * 40 * 16
    assert count_flops(whole, 12).recomputed == found.forward - head


@pytest.mark.parametrize(
    "settings", [{}, {"token_types": 2, "embedding_norm": True, "bias": True, "norm": "layernorm"}]
)
def test_an_encoder_as_torch_counts(settings: dict[str, Any]) -> None:
    network = Encoder(vocab_size=40, dim=16, num_layers=3, num_heads=4, **settings)
    whole = nn.ModuleDict({"network": network, "head": NextToken(dim=16, vocab_size=40, weight=network.output_weight)})
    found, parts = count_flops(whole, 12), count_parameters(whole)
    assert "other" not in parts
    assert sum(count.total for count in parts.values()) == sum(p.numel() for p in whole.parameters())
    assert found.forward == flops_by_torch(whole, training=False)
    assert found.training == flops_by_torch(whole, training=True)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("kind", "gates"), [(LSTM, 4), (GRU, 3), (RNN, 1)])
def test_a_recurrent_network_by_hand(kind: type[Recurrent], gates: int, both: bool) -> None:
    """Two layers of H = 8 over D = 16: so many gates, each a matrix from below, one from before and two biases; then the
    projection and the output matrix."""
    network = kind(vocab_size=40, dim=16, hidden=8, bidirectional=both)
    whole = nn.ModuleDict({"network": network, "head": NextToken(dim=16, vocab_size=40, weight=network.output_weight)})
    directions = 1 + both
    matrices = directions * gates * (8 * 16 + 8 * 8 + 8 * 8 * directions + 8 * 8)
    projection = 0 if both else 8 * 16
    found = {part: count.total for part, count in count_parameters(whole).items()}
    parts = {"embedding": 640, "recurrent": matrices + directions * 2 * gates * 2 * 8, "projection": projection}
    assert found == {part: number for part, number in parts.items() if number}
    assert count_flops(whole, 12).forward == 2 * (matrices + projection + 16 * 40)
    assert count_flops(whole, 12).training == 6 * (matrices + projection + 16 * 40)


OTHERS: dict[str, tuple[type[Any], dict[str, Any], bool]] = {
    "window": (Feedforward, {"hidden": 24, "window": 3, "num_layers": 2}, True),
    "bag": (BagOfEmbeddings, {"buckets": 50}, True),
    "convolution": (TextCNN, {"filters": 8}, True),
    "recurrent with attention": (Seq2SeqLSTM, {"hidden": 8}, False),
    "linear attention": (LinearAttention, {"num_heads": 2, "num_layers": 2}, False),
}
"""With whether torch's counter knows all of its products."""


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_have_no_part_without_a_name(name: str) -> None:
    kind, settings, counted = OTHERS[name]
    network = kind(vocab_size=40, dim=16, **settings)
    whole = nn.ModuleDict(
        {"network": network, "head": NextToken(dim=network.dim, vocab_size=40, weight=network.output_weight)}
    )
    parts, found = count_parameters(whole), count_flops(whole, 12)
    assert "other" not in parts
    assert sum(count.total for count in parts.values()) == sum(p.numel() for p in whole.parameters())
    if counted:
        assert found.forward == flops_by_torch(whole, training=False)


def test_linear_attention_by_hand() -> None:
    """D = 16 and K = 8: five matrices of the layer, one of its gates, k v and q S; three of SwiGLU; the output matrix."""
    network = LinearAttention(vocab_size=40, dim=16, num_heads=2, num_layers=3, ff_dim=24)
    whole = nn.ModuleDict({"network": network, "head": NextToken(dim=16, vocab_size=40, weight=network.output_weight)})
    layer = 2 * (5 * 16 * 16 + 16 * 2) + 4 * 16 * 8 + 2 * 3 * 16 * 24
    assert count_flops(whole, 12).forward == 3 * layer + 2 * 16 * 40
