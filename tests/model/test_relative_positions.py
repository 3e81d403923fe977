"""Guards buckets that are not T5's, a table that one half lends the other, and an encoder-decoder that is not T5 with its weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from torch import nn

from manyheads.batch import IGNORE, Batch
from manyheads.build import CONF_DIR
from manyheads.decoding.generate import generate
from manyheads.head.next_token import NextToken
from manyheads.model.encoder import Encoder
from manyheads.model.encoder_decoder import EncoderDecoder
from manyheads.model.relative_positions import RelativePositions

CPU = torch.device("cpu")


def make(*, both_ways: bool, buckets: int = 32, distance: int = 128, heads: int = 2) -> RelativePositions:
    torch.manual_seed(0)
    return RelativePositions(
        both_ways=both_ways, buckets=buckets, distance=distance, dim=4 * heads, head_dim=4, max_positions=None,
        rotary_base=1.0,
    )  # fmt: skip


def test_buckets_by_hand() -> None:
    """8 buckets up to distance 16. One way: 0-3 alone, then each factor 4^(1/4) one more: 4-5, 6-7, 8-11, 12 and on. Both
    ways 4 each: 0, 1, then 2-5 (a factor of 8^(1/2) = 2.83), 6 and on; 4 more for keys ahead."""
    behind = make(both_ways=False, buckets=8, distance=16).bucket(-torch.arange(18))
    assert behind.tolist() == [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7]
    assert make(both_ways=False).bucket(torch.tensor([1, 5])).tolist() == [0, 0]
    both = make(both_ways=True, buckets=8, distance=16).bucket(torch.tensor([-9, -6, -5, -2, -1, 0, 1, 2, 5, 6, 9]))
    assert both.tolist() == [3, 3, 2, 2, 1, 0, 5, 6, 6, 7, 7]


@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 16), (6, 9), (4, 3), (5, 7)])
def test_buckets_are_those_of_transformers(buckets: int, distance: int, both_ways: bool) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    ahead = torch.arange(-300, 301)
    wanted = T5Attention._relative_position_bucket(
        ahead, bidirectional=both_ways, num_buckets=buckets, max_distance=distance
    )
    assert torch.equal(make(both_ways=both_ways, buckets=buckets, distance=distance).bucket(ahead), wanted)


@pytest.mark.parametrize("both_ways", [True, False])
def test_each_score_gets_the_number_of_its_distance(both_ways: bool) -> None:
    """Three new positions after two old ones."""
    positions = make(both_ways=both_ways, buckets=8, distance=16)
    found = positions.bias(3, 5, CPU)
    assert found.shape == (1, 2, 3, 5)
    for i in range(3):
        for j in range(5):
            bucket = positions.bucket(torch.tensor(j - (i + 2)))
            assert torch.equal(found[0, :, i, j], positions.table.weight[bucket])


V = 23
SMALL: dict[str, Any] = {"scale_scores": False, "norm_eps": 1e-6, "positions": "relative"}
GRID: list[tuple[tuple[int, int], tuple[int, int], bool]] = [
    ((2, 2), (32, 128), False), ((1, 3), (8, 10), False), ((2, 1), (6, 9), True), ((1, 2), (32, 128), True)
]  # fmt: skip
"""Layers, buckets with their distance, and whether it is T5 1.1."""


def theirs(kind: str, layers: tuple[int, int], buckets: tuple[int, int], gated: bool) -> Any:
    """A model of transformers, every weight random, norms too."""
    import transformers

    config = transformers.T5Config(
        vocab_size=V, d_model=24, d_kv=8, num_heads=3, d_ff=40, num_layers=layers[0], num_decoder_layers=layers[1],
        relative_attention_num_buckets=buckets[0], relative_attention_max_distance=buckets[1], dropout_rate=0.0,
        feed_forward_proj="gated-gelu" if gated else "relu", tie_word_embeddings=not gated, decoder_start_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    made = getattr(transformers, kind)(config).eval()
    if gated and hasattr(made, "lm_head"):
        made.lm_head.weight = nn.Parameter(torch.zeros(V, 24))  # of its own, as the released weights have it
    for name, parameter in made.named_parameters():
        nn.init.normal_(parameter, 1.0 if "layer_norm" in name else 0.0, 0.3)
    return made


def name_of(ours: str) -> str:
    """The name in transformers of one of our parameters of an encoder-decoder."""
    if ours == "embedding.weight":
        return "shared.weight"
    half, name = ("encoder", ours.removeprefix("encoder.")) if ours.startswith("encoder.") else ("decoder", ours)
    last = {"encoder": "1", "decoder": "2"}[half]
    for one, other in (
        ("positions.table", "block.0.layer.0.SelfAttention.relative_attention_bias"), ("blocks.", "block."),
        ("final_norm", "final_layer_norm"), ("cross_attention_norm", "layer.1.layer_norm"),
        ("cross_attention", "layer.1.EncDecAttention"), ("feed_forward_norm", f"layer.{last}.layer_norm"),
        ("feed_forward", f"layer.{last}.DenseReluDense"), ("attention_norm", "layer.0.layer_norm"),
        (".attention", ".layer.0.SelfAttention"),
    ):  # fmt: skip
        name = name.replace(one, other)
    for one in ("query", "key", "value", "output"):
        name = name.replace(f".{one}.", f".{one[0]}.")
    return f"{half}.{name}"


def feed_forward(name: str, gated: bool) -> str:
    """T5 1.1 has two matrices in the place of `wi`."""
    parts = {".gate.": ".wi_0.", ".up.": ".wi_1." if gated else ".wi.", ".down.": ".wo."}
    return next((name.replace(one, other) for one, other in parts.items() if one in name), name)


def ours_like(
    oracle: Any, layers: tuple[int, int], buckets: tuple[int, int], gated: bool
) -> tuple[Any, dict[str, str]]:
    """The same network with the same weights, and the name there of each of its parameters."""
    made = EncoderDecoder(
        vocab_size=V, dim=24, num_heads=3, num_encoder_layers=layers[0], num_layers=layers[1], ff_dim=40, **SMALL,
        relative_buckets=buckets[0], relative_distance=buckets[1], activation="geglu" if gated else "relu",
        tie_embeddings=not gated, scale_states=not gated,
    ).eval()  # fmt: skip
    names = {name: feed_forward(name_of(name), gated) for name in made.state_dict()}
    given = oracle.state_dict()
    made.load_state_dict({ours: given[theirs] for ours, theirs in names.items()})
    return made, names


@pytest.mark.parametrize(("layers", "buckets", "gated"), GRID)
def test_t5_of_transformers_computes_the_same(layers: tuple[int, int], buckets: tuple[int, int], gated: bool) -> None:
    """Logits, loss and the gradient of every weight, of texts longer than the distance and a source with padding."""
    torch.manual_seed(0)
    oracle = theirs("T5ForConditionalGeneration", layers, buckets, gated)
    ours, names = ours_like(oracle, layers, buckets, gated)
    own = nn.Parameter(oracle.lm_head.weight.detach().clone())
    head = NextToken(dim=24, vocab_size=V, weight=ours.output_weight if ours.output_weight is not None else own)
    texts, given = torch.randint(1, V, (2, 14)), torch.randint(1, V, (2, 17))
    seen = torch.tensor([[1] * 17, [1] * 9 + [0] * 8])
    labels = torch.randint(1, V, (2, 14))
    labels[1, 5:] = IGNORE
    wanted = oracle(given, attention_mask=seen, decoder_input_ids=texts, labels=labels, use_cache=False)
    batch = Batch(input_ids=texts, source_ids=given, source_segments=seen, labels=labels)
    found = ours(batch)
    assert wanted.logits.std() > 0.1
    torch.testing.assert_close(head.logits(found), wanted.logits, rtol=1e-5, atol=1e-5)
    loss = head(found, batch)
    torch.testing.assert_close(loss.loss_sum / loss.count, wanted.loss, rtol=1e-5, atol=1e-5)
    (loss.loss_sum / loss.count).backward()
    wanted.loss.backward()
    parameters = dict(oracle.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, parameters[names[name]].grad, rtol=1e-3, atol=1e-5)
    assert set(parameters) - set(names.values()) == ({"lm_head.weight"} if gated else set())


@pytest.mark.parametrize("gated", [False, True])
def test_t5s_encoder_alone_computes_the_same(gated: bool) -> None:
    torch.manual_seed(0)
    oracle = theirs("T5EncoderModel", (3, 3), (8, 10), gated)
    ours = Encoder(
        vocab_size=V, dim=24, num_heads=3, num_layers=3, ff_dim=40, **SMALL, relative_buckets=8, relative_distance=10,
        activation="geglu" if gated else "relu",
    ).eval()  # fmt: skip
    given = oracle.state_dict()
    names = {name: name_of(name.replace("layers.", "encoder.", 1)) for name in ours.state_dict()}
    ours.load_state_dict({name: given[feed_forward(theirs, gated)] for name, theirs in names.items()})
    ids, seen = torch.randint(1, V, (2, 15)), torch.tensor([[1] * 15, [1] * 6 + [0] * 9])
    wanted = oracle(ids, attention_mask=seen).last_hidden_state[seen == 1]
    found = ours(Batch(input_ids=ids, segments=seen))[seen == 1]
    assert found.std() > 0.3
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("layers", "buckets", "gated"), GRID)
def test_t5_writes_the_same(layers: tuple[int, int], buckets: tuple[int, int], gated: bool) -> None:
    """Greedily, with the cache and without one; no two tokens twice, or random weights write one token alone."""
    torch.manual_seed(1)
    oracle = theirs("T5ForConditionalGeneration", layers, buckets, gated)
    ours, _ = ours_like(oracle, layers, buckets, gated)
    head, given = NextToken(dim=24, vocab_size=V, weight=oracle.lm_head.weight), torch.randint(1, V, (1, 11))
    wanted = oracle.generate(
        given, attention_mask=torch.ones_like(given), max_new_tokens=30, do_sample=False, no_repeat_ngram_size=2,
        eos_token_id=0, pad_token_id=0, use_cache=False,
    )[0].tolist()  # fmt: skip
    settings: dict[str, Any] = {"end_id": 0, "max_new_tokens": 30, "no_repeat_ngram": 2}
    for use_cache in (True, False):
        (text,) = generate(ours, head, [[]], sources=[given[0].tolist()], use_cache=use_cache, **settings)
        assert [0, *text, *[0] * (len(text) < 30)] == wanted
    assert len(set(wanted)) > 2


def test_weights_start_as_in_transformers() -> None:
    """The deviation of every matrix, within 5 standard errors."""
    import transformers

    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=500, d_model=96, d_kv=24, num_heads=4, d_ff=160, num_layers=2, decoder_start_token_id=0
    )
    oracle = transformers.T5ForConditionalGeneration(config)
    ours = EncoderDecoder(
        vocab_size=500, dim=96, num_heads=4, num_encoder_layers=2, num_layers=2, ff_dim=160, activation="relu",
        init="t5", **SMALL,
    )  # fmt: skip
    given = oracle.state_dict()
    for name, weight in ours.state_dict().items():
        wanted = given[feed_forward(name_of(name), False)]
        assert weight.shape == wanted.shape
        error = 10 / (2 * weight.numel()) ** 0.5
        assert weight.std().item() == pytest.approx(wanted.std().item(), rel=error, abs=1e-9), name


def test_t5_has_the_published_number_of_parameters() -> None:
    """222,903,552 of t5-base (the sum over its released weights, the shared table once)."""
    settings = yaml.safe_load((CONF_DIR / "model" / "t5.yaml").read_text())
    assert settings.pop("_target_") == "manyheads.model.encoder_decoder.EncoderDecoder"
    with torch.device("meta"):
        net = EncoderDecoder(vocab_size=32_128, **settings)
    assert sum(p.numel() for p in net.parameters()) == 222_903_552
