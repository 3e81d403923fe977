import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.bag_of_embeddings import BagOfEmbeddings
from manyheads.model.decoder import Decoder
from manyheads.model.encoder import Encoder
from manyheads.model.encoder_decoder import EncoderDecoder
from manyheads.model.feedforward import Feedforward
from manyheads.model.gru import GRU
from manyheads.model.hugging_face import from_hugging_face, to_hugging_face
from manyheads.model.linear_attention import LinearAttention
from manyheads.model.lstm import LSTM
from manyheads.model.rnn import RNN
from manyheads.model.seq2seq_lstm import Seq2SeqLSTM

LLAMA = {"vocab_size": 23, "dim": 24, "num_layers": 2, "num_heads": 4}
GPT2 = LLAMA | {
    "norm": "layernorm",
    "positions": "learned",
    "max_positions": 16,
    "bias": True,
    "activation": "gelu_tanh",
}
SCALED = {"rotary_factor": 4.0, "original_max_positions": 5, "num_kv_heads": 2}  # rows are 11 long
GRID = [
    *[LLAMA | {"num_kv_heads": kv, "tie_embeddings": tied} for kv in (4, 2, 1) for tied in (True, False)],
    LLAMA | {"rotary_base": 50.0, "norm_eps": 0.3, "ff_dim": 20, "max_positions": 32},
    *[GPT2 | {"activation": name, "tie_embeddings": tied} for name in ("gelu_tanh", "gelu") for tied in (True, False)],
    GPT2 | {"activation": "relu", "norm_eps": 0.3, "ff_dim": 20},
    LLAMA | {"rotary_scaling": "linear", "rotary_factor": 4.0, "max_positions": 32},
    LLAMA | SCALED | {"rotary_scaling": "dynamic"},
    LLAMA | SCALED | {"rotary_scaling": "yarn", "original_max_positions": 64, "max_positions": 256, "rotary_fast": 8.0},
    LLAMA
    | SCALED
    | {"rotary_scaling": "llama3", "original_max_positions": 16, "max_positions": 64, "rotary_slow": 0.5},
    LLAMA | {"window": 4, "num_kv_heads": 2},
    LLAMA | SCALED | {"window": 4, "rotary_scaling": "dynamic"},
    LLAMA | {"qk_norm": True, "norm_eps": 0.3, "num_kv_heads": 2, "tie_embeddings": False},
    LLAMA | {"qk_norm": True, "window": 3, "full_every": 2},
    LLAMA | {"qk_norm": True, "window": 3, "rotary_scaling": "linear", "rotary_factor": 2.0},
]
MIXTRAL = LLAMA | {"num_experts": 3, "ff_dim": 20}
OWN = [
    MIXTRAL | {"experts_per_token": 1},  # whose weight Mixtral would make 1
    MIXTRAL | {"activation": "gelu"},
    GPT2 | {"num_kv_heads": 2},
    LLAMA | {"norm_position": "post", "tie_embeddings": False},
    LLAMA | {"positions": "sinusoidal", "scale_embeddings": True, "activation": "relu"},
    LLAMA | {"window": 3, "full_every": 2},
    LLAMA | SCALED | {"rotary_scaling": "dynamic", "max_positions": 32},
    LLAMA | {"attention_softcap": 2.0},
    LLAMA | {"sinks": True, "qk_norm": True},
    LLAMA | {"block": "parallel"},
    LLAMA | {"block": "parallel_one_norm"},
    LLAMA | {"positions": "alibi"},
    GPT2 | {"qk_norm": True},
    GPT2 | {"window": 3},
    GPT2 | {"block": "parallel"},
]


def model(settings: dict[str, Any], *, bias: bool = False) -> tuple[Decoder, NextToken]:
    """Every parameter, norms and biases included, is far from where it starts, so that none can be left out unseen."""
    torch.manual_seed(0)
    network = Decoder(**settings)
    head = NextToken(dim=network.dim, vocab_size=network.vocab_size, weight=network.output_weight, bias=bias)
    scramble(network)
    scramble(head)
    return network.eval(), head


def scramble(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.2, 0.5)


def rebuilt(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[Decoder, NextToken]:
    settings, state = from_hugging_face(config, tensors)
    network = Decoder(**settings).eval()
    bias = "head.bias" in state
    head = NextToken(dim=network.dim, vocab_size=network.vocab_size, weight=network.output_weight, bias=bias)
    nn.ModuleDict({"network": network, "head": head}).load_state_dict(state)
    return network, head


def logits(network: Decoder, head: NextToken) -> Tensor:
    with torch.no_grad():
        return head.logits(network(Batch(input_ids=IDS)))


IDS = torch.arange(22).view(2, 11) % 23


def theirs(config: dict[str, Any]) -> Any:
    import transformers

    kinds = {
        "llama": transformers.LlamaConfig, "gpt2": transformers.GPT2Config, "mistral": transformers.MistralConfig,
        "qwen3": transformers.Qwen3Config,
    }  # fmt: skip
    rest = {key: value for key, value in config.items() if key not in ("architectures", "model_type")}
    made = kinds[config["model_type"]](**rest, attn_implementation="eager")
    return getattr(transformers, config["architectures"][0])(made).eval()


def kind_of(settings: dict[str, Any]) -> str:
    if settings.get("bias"):
        return "gpt2"
    return "qwen3" if settings.get("qk_norm") else "mistral" if "window" in settings else "llama"


@pytest.mark.parametrize("settings", GRID)
def test_transformers_computes_the_same_logits_from_what_is_written(settings: dict[str, Any]) -> None:
    network, head = model(settings)
    config, tensors = to_hugging_face(network, head, end_id=0)
    assert config["model_type"] == kind_of(settings)
    oracle = theirs(config)
    missing, unexpected = oracle.load_state_dict(tensors, strict=False)
    assert unexpected == []
    assert missing == (["lm_head.weight"] if settings.get("tie_embeddings", True) else [])
    oracle.tie_weights()
    ours = logits(network, head)
    assert ours.std() > 0.5  # far above the tolerance
    torch.testing.assert_close(ours, oracle(IDS).logits.detach(), rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("settings", GRID)
def test_a_network_of_transformers_is_read_and_computes_the_same(settings: dict[str, Any]) -> None:
    """The oracle's own weights and the oracle's own config, defaults of transformers included."""
    network, head = model(settings)
    oracle = theirs(to_hugging_face(network, head)[0])
    scramble(oracle)
    network, head = rebuilt(oracle.config.to_dict(), oracle.state_dict())
    torch.testing.assert_close(logits(network, head), oracle(IDS).logits.detach(), rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("settings", [*GRID, *OWN, MIXTRAL])
def test_there_and_back_is_exact(settings: dict[str, Any]) -> None:
    network, head = model(settings)
    config, tensors = to_hugging_face(network, head)
    again, its_head = rebuilt(config, tensors)
    assert torch.equal(logits(network, head), logits(again, its_head))
    assert again.settings | {"init": "gpt2"} == network.settings | {"init": "gpt2"}
    pointers = [tensor.untyped_storage().data_ptr() for tensor in tensors.values()]
    assert len(set(pointers)) == len(pointers)
    assert all(tensor.is_contiguous() for tensor in tensors.values())


@pytest.mark.parametrize("tied", [True, False])
def test_experts_are_written_as_mixtral_publishes_them(tied: bool, tmp_path: Path) -> None:
    """transformers stacks the matrices of all experts while it reads them, so they go through a file."""
    network, head = model(MIXTRAL | {"tie_embeddings": tied, "num_kv_heads": 2})
    config, tensors = to_hugging_face(network, head, end_id=0)
    assert config["model_type"] == "mixtral"
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    import transformers

    oracle = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    ours = logits(network, head)
    assert ours.std() > 0.5
    torch.testing.assert_close(ours, oracle(IDS).logits.detach(), rtol=1e-5, atol=5e-5)


def test_layers_that_look_ahead_stay_behind() -> None:
    network, _ = model(LLAMA)
    head = NextToken(dim=network.dim, vocab_size=network.vocab_size, weight=network.output_weight, mtp_tokens=2)
    config, tensors = to_hugging_face(network, head)
    assert config["model_type"] == "llama"
    assert not [name for name in tensors if "ahead" in name]


def test_what_no_other_tool_knows_keeps_our_names() -> None:
    for settings in OWN:
        config, tensors = to_hugging_face(*model(settings))
        assert config["model_type"] == "manyheads"
        assert "network.embedding.weight" in tensors
    config, tensors = to_hugging_face(*model(LLAMA, bias=True))
    assert (config["model_type"], "head.bias" in tensors) == ("manyheads", True)
    network, head = rebuilt(config, tensors)
    assert head.bias is not None
    assert torch.equal(logits(network, head), logits(*model(LLAMA, bias=True)))


def test_capped_logits_are_no_llama_and_keep_their_cap() -> None:
    network, _ = model(LLAMA)
    head = NextToken(dim=24, vocab_size=23, weight=network.output_weight, softcap=2.0)
    config, tensors = to_hugging_face(network, head)
    assert (config["model_type"], config["final_logit_softcapping"]) == ("manyheads", 2.0)
    assert from_hugging_face(config, tensors)[0] == network.settings


def test_the_first_published_gpt2_names_are_read() -> None:
    """Files from before the prefix, with the causal masks inside."""
    network, head = model(GPT2)
    config, tensors = to_hugging_face(network, head)
    old = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    old["h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    assert torch.equal(logits(*rebuilt(config, old)), logits(network, head))


def test_what_cannot_be_read_is_refused_by_name() -> None:
    config, tensors = to_hugging_face(*model(LLAMA))
    shrunk = {name: tensor for name, tensor in tensors.items() if name != "model.norm.weight"}
    faults: list[tuple[dict[str, Any], dict[str, Tensor], str]] = [
        (
            config | {"model_type": "mamba"},
            tensors,
            "model_type=mamba cannot be read, only llama, mistral, qwen3, mixtral, gpt2, manyheads",
        ),
        (config | {"attention_bias": True}, tensors, "attention_bias=True has no counterpart"),
        (config | {"rope_parameters": {"rope_type": "llama3"}}, tensors, "factor is missing"),
        (config | {"head_dim": 5}, tensors, "heads of another width"),
        ({k: v for k, v in config.items() if k != "hidden_size"}, tensors, "hidden_size is missing"),
        (config, shrunk, "lack network.final_norm.weight (1 in all)"),
        (config, tensors | {"model.extra": torch.ones(1)}, "hold an unknown model.extra"),
        (
            config,
            tensors | {"model.norm.weight": torch.ones(2)},
            "network.final_norm.weight is [2], and config.json says [24]",
        ),
    ]
    for broken, given, text in faults:
        with pytest.raises(UserError) as caught:
            from_hugging_face(broken, given)
        assert text in str(caught.value)


OTHERS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "EncoderDecoder": (EncoderDecoder, LLAMA | {"positions": "learned", "max_positions": 16, "num_encoder_layers": 1}),
    "Encoder": (Encoder, LLAMA | {"token_types": 2, "embedding_norm": True, "norm_position": "post"}),
    "Seq2SeqLSTM": (Seq2SeqLSTM, {"vocab_size": 23, "dim": 24, "hidden": 20, "num_layers": 2}),
    "LinearAttention": (LinearAttention, {"vocab_size": 23, "dim": 24, "num_heads": 3, "num_layers": 2}),
    "LSTM": (LSTM, {"vocab_size": 23, "dim": 24, "hidden": 20, "dropout": 0.1, "forget_bias": 0.5}),
    "GRU": (GRU, {"vocab_size": 23, "dim": 24, "hidden": 20, "bidirectional": True}),
    "RNN": (RNN, {"vocab_size": 23, "dim": 24, "hidden": 20}),
    "Feedforward": (Feedforward, {"vocab_size": 23, "dim": 24, "window": 3, "hidden": 20}),
    "BagOfEmbeddings": (BagOfEmbeddings, {"vocab_size": 23, "dim": 24, "buckets": 50}),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("tied", [True, False])
def test_other_networks_keep_our_names_and_come_back(name: str, tied: bool) -> None:
    kind, settings = OTHERS[name]
    network: Any = kind(**settings | {"tie_embeddings": tied})
    head = NextToken(dim=network.dim, vocab_size=network.vocab_size, weight=network.output_weight)
    config, tensors = to_hugging_face(network, head, end_id=0)
    assert (config["model_type"], config["architectures"]) == ("manyheads", [name])
    assert ("head.weight" in tensors) is not tied
    its_settings, state = from_hugging_face(config, tensors)
    again: Any = kind(**its_settings)
    assert again.settings == network.settings
    nn.ModuleDict({"network": again, "head": head}).load_state_dict(state)
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in network.state_dict().items())


def test_a_network_that_is_not_known_is_named() -> None:
    config, tensors = to_hugging_face(*model(OWN[0]))
    with pytest.raises(
        UserError,
        match=r"architectures=Rnn is no network of manyheads, only BagOfEmbeddings, Decoder, .*LSTM, NGram, RNN, Seq2SeqLSTM, TextCNN, Word2Vec are",
    ):
        from_hugging_face(config | {"architectures": ["Rnn"]}, tensors)
