"""Guards: weights that go into a network of another shape, and a task that is not told what it needs to know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from manyheads.build import CONF_DIR, complete, target_of
from manyheads.data.together import Together
from manyheads.errors import UserError
from manyheads.head.label import Label
from manyheads.head.masked_token import MaskedToken
from manyheads.head.members import Members
from manyheads.head.negative_sampling import NegativeSampling
from manyheads.members import members_of
from manyheads.model.bag_of_embeddings import BagOfEmbeddings
from manyheads.model.word2vec import Word2Vec
from manyheads.rebuild import build_source, build_task, load_weights, load_words, rebuild
from manyheads.run.compose import compose
from manyheads.task.base import Task
from manyheads.task.layouts import FromLeftToRight, WithEncoder
from manyheads.task.mixture import Mixture
from manyheads.task.translation import Translation
from manyheads.testing import Rows, byte_tokenizer, tiny_network, tiny_run
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.word import word
from manyheads.train import settle

TOKENIZER = byte_tokenizer()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tiny_run(tmp_path / "run", checkpoints={"best": 1, "last": 2})


def weights(seed: int) -> torch.Tensor:
    return tiny_network(TOKENIZER.vocab_size, seed=seed)[0].embedding.weight


def test_weights_go_into_modules_of_the_same_shape_alone(run: Path) -> None:
    network, head = tiny_network(257, seed=9)
    load_weights(run, None, network, head)
    assert torch.equal(network.embedding.weight, weights(1))
    with pytest.raises(UserError, match=r"network\.embedding\.weight is \[257, 16\] there and \[300, 16\] here"):
        load_weights(run, None, *tiny_network(300))
    with pytest.raises(UserError, match=r"lacks network\.blocks\.2\."):
        load_weights(run, None, *tiny_network(257, num_layers=3))
    with pytest.raises(UserError, match=r"holds network\.blocks\.1\..*of another network"):
        load_weights(run, None, *tiny_network(257, num_layers=1))
    with pytest.raises(UserError, match="init=nowhere: there is no such folder"):
        load_weights("nowhere", None, network, head)


@pytest.mark.parametrize(("model", "layout"), [("tiny", FromLeftToRight), ("encoder_decoder", WithEncoder)])
def test_a_task_is_told_what_kind_of_network_there_is(model: str, layout: type) -> None:
    config, _ = compose("train", ["task=translation", f"model={model}"], CONF_DIR)
    rows = [{"source": "a", "target": "b"}]
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Translation.fields)
    task = build_task(config, source, TOKENIZER)
    assert isinstance(task, Translation)
    assert type(task.layout) is layout


def test_double_precision_is_there_from_the_start() -> None:
    config, _ = compose("train", ["model=nano", "trainer.precision=64-true"], CONF_DIR)
    network, head = rebuild(config, TOKENIZER)
    assert {p.dtype for p in (*network.parameters(), *head.parameters())} == {torch.float64}


def test_a_head_of_another_class_starts_anew(run: Path) -> None:
    """The network's weights are the run's, the head's are as they were; what was left out is told."""
    network, _ = tiny_network(257, seed=9)
    head = Label(dim=16, labels=["a", "b"])
    before = {name: value.clone() for name, value in head.state_dict().items()}
    (note,) = load_weights(run, None, network, head)
    assert note == f"the network starts from {run}; the head, Label, starts anew: that run's was NextToken"
    assert torch.equal(network.embedding.weight, weights(1))
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert load_weights(run, None, *tiny_network(257)) == []


MEMBERS = {"topics": "classification", "text": "masked"}


def mixed(order: list[str], *more: str) -> tuple[DictConfig, Task]:
    """A mixture of these members on rows of a label each, built as train builds it."""
    words = [f"+task@task.members.{name}={MEMBERS[name]}" for name in order]
    config, _ = compose("train", ["task=mixture", *words, "model.dim=16", "model.num_heads=2", *more], CONF_DIR)
    rows = [{"text": text, "label": text} for text in ("a", "b", "c")]
    sources = {name: Rows({"train": rows, "validation": rows, "test": rows}) for name in order}
    for name, member in members_of(config).items():
        sources[name].ask(target_of(member.task, "task").fields)  # type: ignore[attr-defined]
    return config, build_task(config, Together(sources), TOKENIZER)


@pytest.mark.parametrize("order", [["topics", "text"], ["text", "topics"]])
def test_members_have_one_tokenizer_with_the_special_tokens_of_all(order: list[str]) -> None:
    """Guards: a member that was built before another needed a mask, so that it has another vocabulary, and after a resume,
    where the tokenizer has everything, other rows."""
    config, task = mixed(order)
    assert isinstance(task, Mixture)
    assert task.tokenizer.vocab_size == TOKENIZER.vocab_size + 1
    assert {one.tokenizer.fingerprint for one in task.members.values()} == {task.tokenizer.fingerprint}
    again = build_task(config, task.source, task.tokenizer)
    assert again.made_of == task.made_of


def test_the_heads_of_members_are_built_for_the_network_and_what_the_data_told() -> None:
    config, task = mixed(["topics", "text"])
    config = complete(config)
    settle(config, task.found)
    network, head = rebuild(config, task.tokenizer)
    assert isinstance(head, Members)
    topics, text = head.of("topics"), head.of("text")
    assert isinstance(topics, Label)
    assert topics.labels == ["a", "b", "c"]
    assert isinstance(text, MaskedToken)
    assert text.weight is network.output_weight
    alone, _ = rebuild(members_of(config)["topics"], task.tokenizer)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), alone.parameters(), strict=True))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["data=text", "data.path=x.txt", "data.streaming=true"], "task.members.topics: data.streaming=true: a mixture has"),
        (["+data@task.members.text.data=text", "task.members.text.data.path=x.txt", "++task.members.text.data.streaming=true"],
         "task.members.text.data.streaming=true: a mixture has to know how large the data of its members is. Set it to false"),
    ],
)  # fmt: skip
def test_members_that_are_streams_are_refused(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.txt").write_text("a\n" * 9)
    config, _ = compose(
        "train", ["task=mixture", *(f"+task@task.members.{name}=masked" for name in MEMBERS), *words], CONF_DIR
    )
    with pytest.raises(UserError) as caught:
        build_source(config)
    assert str(caught.value).startswith(text)


SPOKEN = Rows({"train": ["low lower king low newer low king king"] * 9, "validation": ["v"], "test": ["t"]})
WORD_CONFIG = """\
manyheads: {schema: 1, version: 0.1.0}
model: {_target_: manyheads.model.word2vec.Word2Vec, dim: 4}
head: {_target_: manyheads.head.negative_sampling.NegativeSampling}
"""


def word_run(folder: Path, tokenizer: Tokenizer) -> Path:
    """A run of word vectors in which each number of a token's vector is the token's."""
    network, head = (
        Word2Vec(vocab_size=tokenizer.vocab_size, dim=4),
        NegativeSampling(dim=4, vocab_size=tokenizer.vocab_size),
    )
    with torch.no_grad():
        network.embedding.weight[:] = torch.arange(tokenizer.vocab_size)[:, None]
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    state |= {f"head.{name}": value for name, value in head.state_dict().items()}
    record = {"schema": 1, "version": "0.1.0", "config": WORD_CONFIG, "tokenizer": tokenizer.to_json(), "step": 7}
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(WORD_CONFIG, encoding="utf-8")
    torch.save({"state_dict": state, "manyheads": record}, folder / "checkpoints" / "best.ckpt")
    return folder


def test_an_embedding_starts_from_the_words_that_its_tokens_write(tmp_path: Path) -> None:
    """Of byte-level pieces " low" is a word and "low" is a part of one; what is not found stays as it was drawn."""
    words, pieces = word(source=SPOKEN, min_count=1), bpe(source=SPOKEN, vocab_size=268)
    network = BagOfEmbeddings(vocab_size=pieces.vocab_size, dim=4)
    before = network.embedding.weight.detach().clone()
    notes = load_words(word_run(tmp_path / "run", words), network, pieces)
    after = network.embedding.weight.detach()
    changed = {pieces.decode([token]) for token in (before != after).any(1).nonzero().flatten().tolist()}
    assert {" low", " king"} <= changed
    assert all(text.startswith(" ") for text in changed)
    for text in changed:
        assert after[pieces.encode(text)[0]].tolist() == [words.encode(text)[0]] * 4
    assert notes == [f"{len(changed)} of 268 tokens start with the vectors of {tmp_path / 'run'}, the others at random"]


def test_the_same_words_are_all_found(tmp_path: Path) -> None:
    words = word(source=SPOKEN, min_count=1)
    network = BagOfEmbeddings(vocab_size=words.vocab_size, dim=4)
    load_words(word_run(tmp_path / "run", words), network, words)
    known = [token for token in range(words.vocab_size) if token not in (words.unknown_id, words.end_id)]
    assert network.embedding.weight[known, 0].tolist() == known


def test_vectors_that_do_not_fit_are_refused(run: Path, tmp_path: Path) -> None:
    words = word(source=SPOKEN, min_count=1)
    of_words = word_run(tmp_path / "words", words)
    with pytest.raises(UserError, match=r"embedding_from=.*: its head is NextToken, which learns no word vectors\."):
        load_words(run, BagOfEmbeddings(vocab_size=9, dim=16), words)
    with pytest.raises(
        UserError, match=r"its vectors are 4 wide, and the embedding of this network is 8\. Set model\.dim=4"
    ):
        load_words(of_words, BagOfEmbeddings(vocab_size=words.vocab_size, dim=8), words)
    with pytest.raises(UserError, match=r"no token of the tokenizer is a word of it\."):
        load_words(of_words, BagOfEmbeddings(vocab_size=257, dim=4), TOKENIZER)
    with pytest.raises(UserError, match="embedding_from=nowhere: there is no such folder"):
        load_words("nowhere", BagOfEmbeddings(vocab_size=257, dim=4), TOKENIZER)
