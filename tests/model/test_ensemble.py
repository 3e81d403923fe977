"""Guards: an average that is not of probabilities, members that read each other's states or caches, runs that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.beam import beam_search
from manyheads.decoding.generate import generate
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.head.label import Label
from manyheads.head.masked_token import MaskedToken
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.encoder import Encoder
from manyheads.model.encoder_decoder import EncoderDecoder
from manyheads.model.ensemble import Ensemble
from manyheads.model.lstm import LSTM
from manyheads.model.ngram import NGram

V = 11
IDS = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])


def decoder(seed: int, **settings: int) -> tuple[nn.Module, NextToken]:
    torch.manual_seed(seed)
    network = Decoder(vocab_size=V, **{"dim": 8, "num_layers": 1, "num_heads": 2, "max_positions": 32, **settings})
    return network.eval(), NextToken(dim=network.dim, vocab_size=V, init_std=1.0).eval()


def lstm(seed: int) -> tuple[nn.Module, NextToken]:
    torch.manual_seed(seed)
    network = LSTM(vocab_size=V, dim=6, num_layers=1)
    return network.eval(), NextToken(dim=6, vocab_size=V, init_std=1.0).eval()


def ngram() -> tuple[nn.Module, NextToken]:
    network = NGram(vocab_size=V, order=3)
    network.train().count(Batch(input_ids=IDS, labels=IDS.roll(-1, 1)))
    network.eval()
    return network, NextToken(dim=network.dim, vocab_size=V, table=network.log_probabilities).eval()


def translator(seed: int) -> tuple[nn.Module, NextToken]:
    torch.manual_seed(seed)
    network = EncoderDecoder(vocab_size=V, dim=8, num_layers=1, num_encoder_layers=1, num_heads=2)
    return network.eval(), NextToken(dim=8, vocab_size=V, init_std=1.0).eval()


def joined(*pairs: tuple[nn.Module, Head]) -> tuple[Ensemble, Head]:
    ensemble = Ensemble([network for network, _ in pairs], [head for _, head in pairs])
    return ensemble.eval(), ensemble.head().eval()


def probabilities(network: nn.Module, head: Head) -> Tensor:
    return head.logits(network(Batch(input_ids=IDS))).double().softmax(-1)  # type: ignore[operator]


@pytest.mark.parametrize("others", [[lambda: decoder(2, dim=4)], [lambda: lstm(3), ngram], [ngram]])
@torch.no_grad()
def test_it_says_the_mean_of_what_its_members_say(others: list) -> None:
    """Of other widths and families, and of one that counts."""
    pairs = [decoder(1), *(make() for make in others)]
    expected = torch.stack([probabilities(*pair) for pair in pairs]).mean(0)
    network, head = joined(*pairs)
    torch.testing.assert_close(probabilities(network, head), expected, rtol=1e-5, atol=1e-7)
    losses = head.scores(network(Batch(input_ids=IDS)), Batch(input_ids=IDS, labels=IDS.roll(-1, 1))).losses
    gold = expected.gather(-1, IDS.roll(-1, 1)[..., None])[..., 0].log().neg()
    torch.testing.assert_close(losses.double(), gold, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_network_with_itself_says_what_it_says_alone() -> None:
    alone = decoder(1)
    torch.testing.assert_close(probabilities(*joined(alone, alone)), probabilities(*alone), rtol=1e-6, atol=1e-8)


def test_a_cache_changes_no_text() -> None:
    network, head = joined(decoder(1), lstm(2), ngram())
    options = {"end_id": 0, "max_new_tokens": 8, "num_beams": 3, "num_return": 3}
    prompts = [[1, 2], [3], [4, 5, 6]]
    cached, read = (beam_search(network, head, prompts, **options, use_cache=use) for use in (True, False))
    assert [[one.tokens for one in each] for each in cached] == [[one.tokens for one in each] for each in read]
    for some, others in zip(cached, read, strict=True):
        assert [one.score for one in some] == pytest.approx([one.score for one in others], abs=1e-5)


def test_sources_are_read_by_every_member() -> None:
    pairs = [translator(1), translator(2)]
    network, head = joined(*pairs)
    options = {"end_id": 0, "max_new_tokens": 6, "num_beams": 2}
    sources = [[1, 2, 3], [4, 5]]
    cached, read = (
        beam_search(network, head, [[], []], sources=sources, **options, use_cache=use) for use in (True, False)
    )
    assert [one[0].tokens for one in cached] == [one[0].tokens for one in read]
    ids, segments = torch.tensor([[0, 7]]), torch.tensor([[1, 1, 1]])
    batch = Batch(input_ids=ids, source_ids=torch.tensor([[1, 2, 3]]), source_segments=segments)
    with torch.no_grad():
        expected = torch.stack([one.logits(other(batch)).softmax(-1) for other, one in pairs]).mean(0)
        torch.testing.assert_close(head.logits(network(batch)).softmax(-1), expected)  # type: ignore[operator]


def test_it_reads_no_more_than_its_shortest_member() -> None:
    network, head = joined(decoder(1, max_positions=8), decoder(2, max_positions=16), lstm(3))
    assert network.max_positions == 8
    texts = generate(network, head, [[1, 2, 3]], end_id=0, max_new_tokens=12)
    assert len(texts) == 1


@pytest.mark.parametrize("several", [False, True])
@torch.no_grad()
def test_classes_are_told_by_the_mean_of_probabilities(several: bool) -> None:
    pairs = []
    for seed, pool in ((1, "mean"), (2, "first")):
        torch.manual_seed(seed)
        network = Encoder(vocab_size=V, dim=8, num_layers=1, num_heads=2)
        pairs.append(
            (network.eval(), Label(dim=8, labels=["a", "b", "c"], pool=pool, several=several, init_std=1.0).eval())
        )
    batch = Batch(input_ids=IDS)
    expected = torch.stack([head.probabilities(network(batch), batch) for network, head in pairs]).mean(0)
    network, head = joined(*pairs)
    assert isinstance(head, Label)
    torch.testing.assert_close(head.probabilities(network(batch), batch), expected, rtol=1e-5, atol=1e-7)
    assert list(head.parameters()) == []


def label(*names: str) -> tuple[nn.Module, Label]:
    return Encoder(vocab_size=V, dim=8, num_layers=1, num_heads=2), Label(dim=8, labels=names)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (lambda: [label("a", "b"), label("a", "c")], "one run tells a, b, another a, c. Name runs of one data."),
        (lambda: [label("a", "b"), decoder(1)], "one run has a Label head and another a NextToken head"),
        (lambda: [decoder(1), translator(1)], "the networks are causal and encoder-decoder, which read rows of different forms"),
        (lambda: [(label("a", "b")[0], MaskedToken(dim=8, vocab_size=V))], "a MaskedToken head has nothing that could be averaged here"),
    ],
)  # fmt: skip
def test_what_cannot_be_averaged_is_said(pairs, message: str) -> None:
    with pytest.raises(UserError) as caught:
        joined(*pairs())
    assert str(caught.value).startswith("ensemble: ")
    assert message in str(caught.value)
