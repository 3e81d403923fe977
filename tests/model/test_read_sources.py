"""What any encoder-decoder promises: padding of a source is not seen, and a text read in pieces is what it is as a whole.

Guards a source or a text that is told by its neighbours in the batch, and decoding of another text.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.generate import generate
from manyheads.head.next_token import NextToken
from manyheads.model.encoder_decoder import EncoderDecoder
from manyheads.model.seq2seq_lstm import Seq2SeqLSTM

TRANSFORMER: dict[str, Any] = {
    "dim": 16, "num_heads": 4, "num_kv_heads": 2, "num_layers": 2, "num_encoder_layers": 2, "init_std": 0.3
}  # fmt: skip
RECURRENT: dict[str, Any] = {"dim": 16, "hidden": 12}
NETWORKS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "rotary": (EncoderDecoder, TRANSFORMER),
    "learned": (EncoderDecoder, TRANSFORMER | {"positions": "learned", "max_positions": 12}),
    "sinusoidal": (EncoderDecoder, TRANSFORMER | {"positions": "sinusoidal", "scale_embeddings": True}),
    "relative, as in T5": (
        EncoderDecoder,
        TRANSFORMER
        | {"positions": "relative", "relative_buckets": 6, "relative_distance": 5}
        | {"scale_scores": False, "scale_states": True, "activation": "geglu"},
    ),
    "none": (EncoderDecoder, TRANSFORMER | {"positions": "none"}),
    "BART": (
        EncoderDecoder,
        TRANSFORMER
        | {"norm_position": "post", "norm": "layernorm", "bias": True, "activation": "gelu", "embedding_norm": True}
        | {"positions": "learned", "max_positions": 12},
    ),
    "post": (
        EncoderDecoder,
        TRANSFORMER | {"norm_position": "post", "norm": "layernorm", "bias": True, "activation": "relu"},
    ),
    "embedding_norm": (EncoderDecoder, TRANSFORMER | {"embedding_norm": True, "num_kv_heads": 4, "activation": "gelu"}),
    "one layer before three": (EncoderDecoder, TRANSFORMER | {"num_encoder_layers": 1, "num_layers": 3}),
    "recurrent": (Seq2SeqLSTM, RECURRENT),
    "recurrent, two layers before three": (Seq2SeqLSTM, RECURRENT | {"num_encoder_layers": 2, "num_layers": 3}),
}


VARIED = {"sinusoidal", "none", "post", "one layer before three"}
"""Of which others are tried by default."""
ALL = [pytest.param(name, marks=[pytest.mark.slow] * (name in VARIED)) for name in NETWORKS]


def network(name: str) -> Any:
    """Weights of 0.3, so that a wrong attention weight shows far above rounding."""
    torch.manual_seed(0)
    kind, settings = NETWORKS[name]
    made = kind(vocab_size=20, **settings).double().eval()
    if kind is Seq2SeqLSTM:
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.4)
    return made


def source(*lengths: int, width: int = 0, padding: int = 0) -> Batch:
    """Random sources of those lengths, padded on the right."""
    ids = torch.full((len(lengths), max(*lengths, width)), padding)
    generator = torch.Generator().manual_seed(1)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(1, 20, (length,), generator=generator)
    return Batch(source_ids=ids, source_segments=(torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).long())


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_padding_of_a_source_is_never_seen(name: str) -> None:
    """States and gradients: more padding, or other tokens in it, change nothing, and a row alone without any is the same."""
    net, texts = network(name), torch.randint(0, 20, (3, 5))
    plain, wide = source(7, 4, 1), source(7, 4, 1, width=11, padding=3)
    found = net(Batch(input_ids=texts, **plain))
    same(net(Batch(input_ids=texts, **wide)), found)
    found.square().sum().backward()
    gradients = [parameter.grad for parameter in net.parameters()]
    net.zero_grad()
    for row, length in enumerate((7, 4, 1)):
        alone = net(Batch(input_ids=texts[row : row + 1], source_ids=plain["source_ids"][row : row + 1, :length]))
        same(alone[0], found[row])
        alone.square().sum().backward()
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ALL)
def test_a_text_sees_no_token_ahead_and_all_of_its_own_source(name: str) -> None:
    net, texts, given = network(name), torch.randint(0, 20, (2, 6)), source(5, 5)
    before = net(Batch(input_ids=texts, **given))
    changed = texts.clone()
    changed[0, 3] = (texts[0, 3] + 1) % 20
    after = net(Batch(input_ids=changed, **given))
    same(after[0, :3], before[0, :3])
    same(after[1], before[1])
    assert not torch.allclose(after[0, 3:], before[0, 3:], atol=1e-3)
    for place in (0, 4):  # each end: the encoder looks both ways
        other = given["source_ids"].clone()
        other[0, place] = (other[0, place] + 1) % 20
        after = net(Batch(input_ids=texts, source_ids=other))
        assert (after[0] - before[0]).abs().amax(-1).min() > 1e-3
        same(after[1], before[1])


@pytest.mark.parametrize("name", ALL)
def test_an_empty_source_has_numbers_and_leaves_the_others_as_they_are(name: str) -> None:
    net, texts, given = network(name), torch.randint(0, 20, (2, 3)), source(4, 0)
    found = net(Batch(input_ids=texts, **given))
    assert found.isfinite().all()
    same(found[:1], net(Batch(input_ids=texts[:1], source_ids=given["source_ids"][:1])))


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("pieces", [[1] * 7, [3, 1, 1, 2]])
@pytest.mark.parametrize("name", ALL)
def test_cached_pieces_are_the_whole_row(name: str, pieces: list[int], light: bool) -> None:
    """Only the first piece brings the sources; with the modules and with what stands for them in decoding."""
    net, texts, given = network(name), torch.randint(0, 20, (3, 7)), source(5, 2, 8)
    light = light and hasattr(net, "for_decoding")
    read, cache = net.for_decoding() if light else net, net.new_cache(3, 7)
    assert isinstance(read, nn.Module) is not light
    with torch.inference_mode():
        found = []
        for piece in texts.split(pieces, 1):
            found.append(read(Batch(input_ids=piece, **({} if found else given)), cache))
        same(torch.cat(found, 1), net(Batch(input_ids=texts, **given)))
    assert cache.length == 7


@pytest.mark.parametrize("name", ALL)
def test_left_padded_texts_with_a_cache_are_each_alone(name: str) -> None:
    net, given, pads = network(name), source(5, 2), [0, 2]
    texts = torch.randint(0, 20, (2, 6))
    places = torch.arange(6) - torch.tensor(pads)[:, None]
    prompt = Batch(input_ids=texts[:, :5], positions=places.clamp(min=0)[:, :5], segments=(places >= 0).long()[:, :5])
    cache = net.new_cache(2, 6)
    with torch.inference_mode():
        first = net(prompt | given, cache)
        last = net(Batch(input_ids=texts[:, 5:], positions=places[:, 5:]), cache)
        for row, pad in enumerate(pads):
            alone = Batch(input_ids=texts[row : row + 1, pad:], **source(5, 2))
            alone |= {key: value[row : row + 1] for key, value in given.items()}
            same(torch.cat((first, last), 1)[row, pad:], net(alone)[0])


@pytest.mark.parametrize("name", ALL)
def test_a_cache_keeps_rows_with_their_sources_also_twice(name: str) -> None:
    """Beams: rows 2, 0, 0 go on, each with its own continuation."""
    net, texts, given = network(name), torch.randint(0, 20, (3, 4)), source(5, 2, 8)
    rows, new = torch.tensor([2, 0, 0]), torch.tensor([[1], [2], [3]])
    cache = net.new_cache(3, 5)
    with torch.inference_mode():
        net(Batch(input_ids=texts, **given), cache)
        cache.keep(rows)
        found = net(Batch(input_ids=new), cache)
        whole = Batch(input_ids=torch.cat((texts[rows], new), 1), **{key: value[rows] for key, value in given.items()})
        same(found, net(whole)[:, -1:])


@pytest.mark.parametrize("context", [None, 6])
@pytest.mark.parametrize("name", ALL)
def test_greedy_text_of_ragged_sources_is_each_alone_with_and_without_a_cache(name: str, context: int | None) -> None:
    net = network(name).float()
    head = NextToken(dim=16, vocab_size=20, init_std=0.5, bias=True)
    with torch.no_grad():
        head.get_parameter("bias")[0] = -2.0  # no text ends before its time
    prompts, sources = [[3, 5], [], [11], [3, 5]], [[4, 8, 15, 16], [9], [], [19, 18, 17, 2, 3, 7]]
    settings: dict[str, Any] = {"end_id": 0, "max_new_tokens": 10, "context": context}
    found = generate(net, head, prompts, sources=sources, **settings)
    assert found == generate(net, head, prompts, sources=sources, use_cache=False, **settings)
    alone = [generate(net, head, [p], sources=[s], **settings)[0] for p, s in zip(prompts, sources, strict=True)]
    assert found == alone
    assert found[0] != found[3] or context  # the same prompt, of another source
    assert max(map(len, found)) == 10


@pytest.mark.parametrize("name", ALL)
def test_packed_texts_of_one_source_are_each_alone(name: str) -> None:
    net, given = network(name), source(5)
    texts = torch.tensor([[1, 2, 3, 4, 5]])
    packed = Batch(input_ids=texts, positions=torch.tensor([[0, 1, 2, 0, 1]]), segments=torch.tensor([[1, 1, 1, 2, 2]]))
    found = net(packed | given)
    same(found, torch.cat([net(Batch(input_ids=part, **given)) for part in texts.split([3, 2], 1)], 1))
