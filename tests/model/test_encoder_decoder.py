"""Guards an encoder-decoder that is none of the published ones, sees padding or what comes next, or decodes another text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.build import CONF_DIR
from manyheads.decoding.generate import generate
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.encoder_decoder import EncoderDecoder

OPTIONS: dict[str, dict[str, Any]] = {
    "rotary": {},
    "learned": {"positions": "learned", "max_positions": 12},
    "sinusoidal": {"positions": "sinusoidal", "scale_embeddings": True},
    "relative": {"positions": "relative", "scale_scores": False},
    "none": {"positions": "none"},
    "post": {"norm_position": "post", "norm": "layernorm", "bias": True, "activation": "relu"},
    "embedding_norm": {"embedding_norm": True, "num_kv_heads": 4, "activation": "gelu"},
    "one layer before three": {"num_encoder_layers": 1, "num_layers": 3},
}


def network(**settings: Any) -> EncoderDecoder:
    """Weights of 0.3, so that a wrong attention weight shows far above rounding."""
    torch.manual_seed(0)
    shape = {"vocab_size": 20, "dim": 16, "num_heads": 4, "num_kv_heads": 2, "num_layers": 2, "num_encoder_layers": 2}
    return EncoderDecoder(**{**shape, "init_std": 0.3, **settings}).double().eval()


def source(*lengths: int, width: int = 0, padding: int = 0) -> Batch:
    """Random sources of those lengths, padded on the right."""
    ids = torch.full((len(lengths), max(*lengths, width)), padding)
    generator = torch.Generator().manual_seed(1)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(1, 20, (length,), generator=generator)
    return Batch(source_ids=ids, source_segments=(torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).long())


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_padding_changes_float32_logits_by_rounding_alone() -> None:
    net, texts = network(init_std=0.05).float(), torch.randint(0, 20, (2, 5))
    found, wide = (net(Batch(input_ids=texts, **source(6, 3, width=width))) for width in (6, 40))
    torch.testing.assert_close(wide, found, rtol=1e-6, atol=1e-6)


def test_the_order_of_a_source_counts_where_it_has_places() -> None:
    for name, sees in (("rotary", True), ("learned", True), ("sinusoidal", True), ("relative", True), ("none", False)):
        net, text = network(**OPTIONS[name]), torch.tensor([[3, 4]])
        one, other = (net(Batch(input_ids=text, source_ids=torch.tensor([ids]))) for ids in ([5, 6, 7], [7, 6, 5]))
        assert torch.allclose(one, other, atol=1e-6) is not sees


def test_bfloat16_by_autocast_and_in_full_stays_near() -> None:
    """Guards masks and states of two precisions, in training and through a cache."""
    net, texts, given = network().float(), torch.randint(0, 20, (2, 4)), source(5, 3)
    exact = net(Batch(input_ids=texts, **given))
    with torch.autocast("cpu", torch.bfloat16):
        near = net(Batch(input_ids=texts, **given))
        near.sum().backward()
        cache = net.new_cache(2, 4)
        net(Batch(input_ids=texts[:, :3], **given), cache)
        net(Batch(input_ids=texts[:, 3:]), cache)
    torch.testing.assert_close(near.float(), exact, rtol=0.1, atol=0.1)
    half = net.bfloat16()(Batch(input_ids=texts, **given))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.15, atol=0.15)


def test_dropout_acts_in_training_alone_and_in_both_halves() -> None:
    net, batch = network(dropout=0.5), Batch(input_ids=torch.randint(0, 20, (1, 6)), **source(5))
    assert torch.equal(net(batch), net(batch))
    net.encoder.train()
    assert not torch.equal(net(batch), net(batch))
    net.eval()
    net.blocks.train()
    assert not torch.equal(net(batch), net(batch))


def test_the_embedding_is_one_for_both_halves_and_the_head() -> None:
    net = network()
    assert net.output_weight is net.embedding.weight
    assert [name for name, _ in net.named_parameters() if "embedding" in name] == ["embedding.weight"]
    assert network(tie_embeddings=False).output_weight is None


def test_each_half_starts_by_its_own_number_of_layers() -> None:
    """gpt2 divides by sqrt(2 L) in the encoder and by sqrt(3 L) in the decoder, whose layers write three times."""
    torch.manual_seed(0)
    net = EncoderDecoder(vocab_size=20, dim=256, num_layers=3, num_encoder_layers=8, num_heads=4, init_std=0.1)
    ends = ["encoder.blocks.7.attention.output", "blocks.0.attention.output", "blocks.2.cross_attention.output"]
    assert [net.get_submodule(name).weight.std().item() for name in ends] == pytest.approx(
        [0.1 / 4, 0.1 / 3, 0.1 / 3], rel=0.02
    )
    assert net.blocks[0].get_submodule("cross_attention.query").weight.std().item() == pytest.approx(0.1, rel=0.02)


def test_what_is_too_long_or_missing_is_refused() -> None:
    net, one = network(positions="learned", max_positions=4), torch.zeros(1, 1, dtype=torch.long)
    net(Batch(input_ids=one.expand(1, 4), source_ids=one.expand(1, 4)))
    with pytest.raises(UserError, match=r"model.max_positions=4 is less than a row of 5 tokens"):
        net(Batch(input_ids=one.expand(1, 5), source_ids=one))
    with pytest.raises(UserError, match=r"model.max_positions=4 is less than a source of 5 tokens"):
        net(Batch(input_ids=one, source_ids=one.expand(1, 5)))
    with pytest.raises(UserError, match="the batch has no sources to read: set a task that has them"):
        net(Batch(input_ids=one))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_encoder_layers": 0}, "model.num_encoder_layers=0: set a whole number of at least 1."),
        ({"num_heads": 3}, "model.dim=128 does not divide by model.num_heads=3"),
        ({"positions": "alibi"}, "model.positions=alibi is not one of rotary, learned, sinusoidal, relative, none."),
        ({"positions": "learned"}, "set model.max_positions"),
        ({"relative_buckets": 2.5}, "model.relative_buckets=2.5: set a whole number of at least 4."),
        (
            {"relative_distance": 9, "relative_buckets": 20},
            "model.relative_distance=9: 10 of model.relative_buckets=20",
        ),
    ],
)
def test_numbers_that_do_not_fit_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        EncoderDecoder(**{"vocab_size": 20} | settings)
    assert text in str(caught.value)


V, SHAPE = 23, {"d_model": 24, "encoder_attention_heads": 3, "decoder_attention_heads": 3}
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "bart": ("Bart", {"norm_position": "post", "positions": "learned", "embedding_norm": True}),
    "mbart": ("MBart", {"positions": "learned", "embedding_norm": True}),
    "marian": ("Marian", {"norm_position": "post", "positions": "sinusoidal"}),
    "pegasus": ("Pegasus", {"positions": "sinusoidal"}),
}
"""Post-norm and pre-norm, learned and fixed positions, with a norm after the embeddings and without."""


def theirs(kind: str, layers: tuple[int, int], activation: str, scale: bool) -> Any:
    """The bare model of transformers, every weight random, norms and biases too."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=V, **SHAPE, encoder_layers=layers[0], decoder_layers=layers[1], encoder_ffn_dim=40, decoder_ffn_dim=40,
        activation_function=activation, max_position_embeddings=16, scale_embedding=scale, dropout=0.0, pad_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    made = getattr(transformers, f"{kind}Model")(config).eval()
    for name, parameter in made.named_parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, 1.0 if "norm.weight" in name else 0.0, 0.3)
    return made


def name_of(ours: str) -> str:
    """The name in transformers of one of our parameters."""
    half = "encoder." if ours.startswith("encoder.") else "decoder."
    name = ours.removeprefix("encoder.")
    if name == "embedding.weight":
        return "shared.weight"
    for one, other in (
        ("positions.table", "embed_positions"), ("blocks.", "layers."), ("final_norm", "layer_norm"),
        ("embedding_norm", "layernorm_embedding"), ("cross_attention_norm", "encoder_attn_layer_norm"),
        ("cross_attention", "encoder_attn"), ("attention_norm", "self_attn_layer_norm"),
        ("feed_forward_norm", "final_layer_norm"), ("feed_forward.up", "fc1"), ("feed_forward.down", "fc2"),
    ):  # fmt: skip
        name = name.replace(one, other)
    name = name.replace(".attention.", ".self_attn.")
    for one in ("query", "key", "value"):
        name = name.replace(f".{one}.", f".{one[0]}_proj.")
    return half + name.replace(".output.", ".out_proj.")


@pytest.mark.parametrize(
    ("kind", "layers", "activation", "scale"),
    [(kind, *rest) for kind in THEIRS for rest in (((2, 2), "gelu", False), ((1, 3), "relu", True))],
)
def test_transformers_computes_the_same(kind: str, layers: tuple[int, int], activation: str, scale: bool) -> None:
    """States of ragged texts and sources, and the gradient of every weight."""
    class_name, shape = THEIRS[kind]
    torch.manual_seed(0)
    oracle = theirs(class_name, layers, activation, scale)
    ours = EncoderDecoder(
        vocab_size=V, dim=24, num_heads=3, num_encoder_layers=layers[0], num_layers=layers[1], ff_dim=40,
        norm="layernorm", bias=True, activation=activation, max_positions=16, scale_embeddings=scale, **shape,
    )  # fmt: skip
    given, offset = oracle.state_dict(), 2 if shape["positions"] == "learned" else 0
    names = {name: name_of(name) for name in ours.state_dict()}
    ours.load_state_dict({n: given[t][offset:] if "embed_positions" in t else given[t] for n, t in names.items()})
    if shape["positions"] == "sinusoidal":
        # their table has all sines before all cosines
        table = ours.positions.fixed_table(16, torch.device("cpu"))
        for half in (oracle.encoder, oracle.decoder):
            half.embed_positions.weight.data.copy_(table)
    texts, given_sources = torch.randint(1, V, (2, 6)), torch.randint(1, V, (2, 7))
    seen = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    pull = torch.randn(2, 6, 24)
    wanted = oracle(given_sources, attention_mask=seen, decoder_input_ids=texts, use_cache=False).last_hidden_state
    found = ours(Batch(input_ids=texts, source_ids=given_sources, source_segments=seen))
    assert found.std() > 0.3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    found.backward(pull)
    wanted.backward(pull)
    parameters = dict(oracle.named_parameters())
    for name, parameter in ours.named_parameters():
        gradient = parameters[names[name]].grad
        gradient = gradient[offset:] if "embed_positions" in names[name] else gradient
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-3)
    assert len(set(names.values())) == sum(p.requires_grad for p in oracle.parameters())


@pytest.mark.parametrize("layers", [(2, 2), (1, 3)])
def test_bart_of_transformers_writes_the_same(layers: tuple[int, int]) -> None:
    """Logits, and what is written greedily, with the cache and without one; no two tokens twice, or random weights write one
    token alone."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=V, **SHAPE, encoder_layers=layers[0], decoder_layers=layers[1], encoder_ffn_dim=40,
        decoder_ffn_dim=40, max_position_embeddings=32, pad_token_id=1, bos_token_id=3, eos_token_id=2,
        decoder_start_token_id=2, forced_eos_token_id=None, attn_implementation="eager",
    )  # fmt: skip
    oracle = transformers.BartForConditionalGeneration(config).eval()
    for name, parameter in oracle.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm.weight" in name else 0.0, 0.4)
    nn.init.normal_(oracle.final_logits_bias)
    ours = EncoderDecoder(
        vocab_size=V, dim=24, num_heads=3, num_encoder_layers=layers[0], num_layers=layers[1], ff_dim=40,
        norm="layernorm", bias=True, activation="gelu", max_positions=32, **THEIRS["bart"][1],
    ).eval()  # fmt: skip
    given = oracle.model.state_dict()
    names = {name: name_of(name) for name in ours.state_dict()}
    ours.load_state_dict({n: given[t][2:] if "embed_positions" in t else given[t] for n, t in names.items()})
    head = NextToken(dim=24, vocab_size=V, weight=ours.output_weight, bias=True)
    head.get_parameter("bias").data.copy_(oracle.final_logits_bias[0])
    texts, read = torch.randint(3, V, (1, 6)), torch.randint(3, V, (1, 9))
    with torch.no_grad():
        wanted = oracle(read, decoder_input_ids=texts, use_cache=False).logits
        found = head.logits(ours(Batch(input_ids=texts, source_ids=read)))
        written = oracle.generate(
            read,
            attention_mask=torch.ones_like(read),
            max_new_tokens=20,
            do_sample=False,
            num_beams=1,
            no_repeat_ngram_size=2,
        )[0].tolist()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    settings: dict[str, Any] = {"end_id": 2, "max_new_tokens": 20, "no_repeat_ngram": 2}
    for use_cache in (True, False):
        (text,) = generate(ours, head, [[]], sources=[read[0].tolist()], use_cache=use_cache, **settings)
        assert [2, *text, *[2] * (len(text) < 20)] == written
    assert len(set(written)) > 4


def test_bart_has_the_published_number_of_parameters() -> None:
    """139,420,416 of bart-base, less two places of each half that are never read (its first is the third)."""
    settings = yaml.safe_load((CONF_DIR / "model" / "bart.yaml").read_text())
    assert settings.pop("_target_") == "manyheads.model.encoder_decoder.EncoderDecoder"
    with torch.device("meta"):
        net = EncoderDecoder(vocab_size=50_265, **settings)
    assert sum(p.numel() for p in net.parameters()) == 139_420_416 - 2 * 2 * 768
