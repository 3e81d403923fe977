"""Guards what a checkpoint gives back: the same network and tokenizer, no code run, and a plain word where it cannot."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.decoding.generate import generate
from manyheads.errors import UserError
from manyheads.load import Score, load
from manyheads.testing import TINY_CONFIG, byte_tokenizer, tiny_checkpoint, tiny_network, tiny_run

TOKENIZER = byte_tokenizer()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tiny_run(tmp_path / "run", checkpoints={"best": 1, "last": 2})


def weights(seed: int) -> torch.Tensor:
    return tiny_network(TOKENIZER.vocab_size, seed=seed)[0].embedding.weight


@pytest.mark.parametrize(("checkpoint", "seed"), [(None, 1), ("best", 1), ("last", 2), ("last.ckpt", 2)])
def test_a_run_gives_back_the_checkpoint_that_was_asked_for(run: Path, checkpoint: str | None, seed: int) -> None:
    lm = load(run, checkpoint=checkpoint, device="cpu")
    assert torch.equal(lm.network.embedding.weight, weights(seed))  # type: ignore[union-attr]
    assert lm.tokenizer.fingerprint == TOKENIZER.fingerprint
    assert (lm.folder, lm.context, lm.config.model.dim, lm.record["step"]) == (run, 16, 16, 7)
    assert not lm.network.training
    assert not lm.head.training


def test_a_checkpoint_file_alone_is_enough(run: Path, tmp_path: Path) -> None:
    """Copied elsewhere, without its folder."""
    moved = (run / "checkpoints" / "last.ckpt").rename(tmp_path / "moved.ckpt")
    lm = load(moved, device="cpu")
    assert torch.equal(lm.network.embedding.weight, weights(2))  # type: ignore[union-attr]
    assert lm.folder is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lm: lm.generate(None), "prompt=null: set a text or a list of texts."),
        (lambda lm: lm.generate(3), "prompt=3: set a text or a list of texts."),
        (lambda lm: lm.generate(["a", None]), "prompt=['a', None]: set a text or a list of texts."),
        (lambda lm: list(lm.stream(["a"])), "prompt=['a']: set a text."),
        (lambda lm: list(lm.samples(None)), "prompts=null: set a text or a list of texts."),
        (lambda lm: lm.score(None), "texts=null: set a text or a list of texts."),
    ],
)
def test_what_is_no_text_is_named(run: Path, call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        call(load(run, device="cpu"))
    assert str(caught.value) == message


def test_loading_leaves_the_random_state(run: Path) -> None:
    before = torch.get_rng_state()
    load(run, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_generate_is_decoding_with_the_runs_own_context(run: Path) -> None:
    """The window is the training's sixteen tokens."""
    lm = load(run, device="cpu")
    [ids] = generate(*tiny_network(257, seed=1), [[97, 98]], end_id=256, max_new_tokens=20, context=16)
    assert lm.generate("ab", temperature=0, max_new_tokens=20) == TOKENIZER.decode(ids)
    assert lm.generate("ab", temperature=0, max_new_tokens=20, context=99) != TOKENIZER.decode(ids)
    assert "".join(lm.stream("ab", temperature=0, max_new_tokens=20)) == TOKENIZER.decode(ids)


def test_the_answer_has_the_shape_of_the_question(run: Path) -> None:
    lm = load(run, device="cpu")
    a, b = lm.generate(["a", "b"], max_new_tokens=5)
    assert lm.generate("a", max_new_tokens=5) == a
    assert lm.generate("a", num_samples=1, max_new_tokens=5) == [a]
    groups = lm.generate(["a", "b"], num_samples=2, max_new_tokens=5)
    assert [group[0] for group in groups] == [a, b]
    assert [len(group) for group in groups] == [2, 2]
    assert lm.generate([], max_new_tokens=5) == []


def test_a_search_has_the_same_shapes_and_the_best_first(run: Path) -> None:
    lm = load(run, device="cpu")
    groups = lm.generate(["a", "b"], num_samples=3, num_beams=3, max_new_tokens=5)
    assert [len(set(group)) for group in groups] == [3, 3]
    assert lm.generate(["a", "b"], num_beams=3, max_new_tokens=5) == [group[0] for group in groups]
    assert lm.generate("a", num_beams=3, max_new_tokens=5) == groups[0][0]
    assert "".join(lm.stream("a", num_beams=3, max_new_tokens=5)) == groups[0][0]
    scores = [sample.score for sample in lm.samples(["a"], num_samples=3, num_beams=3, max_new_tokens=5)]
    assert None not in scores
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]


def test_fewer_texts_than_samples_stay_with_their_prompts(run: Path) -> None:
    """Two choices for three places: groups that were counted off would mix the prompts."""
    lm = load(run, device="cpu")
    groups = lm.generate(["a", "b"], num_samples=3, num_beams=3, choices=["x", "yz"], early_stopping="never")
    assert [sorted(group) for group in groups] == [["x", "yz"], ["x", "yz"]]


def test_texts_of_one_form(run: Path) -> None:
    pytest.importorskip("llguidance")
    lm = load(run, device="cpu")
    assert lm.generate("a", choices=["yes", "no"]) in ("yes", "no")
    for options in ({"temperature": 0}, {"seed": 4}, {"num_beams": 3}):
        text = lm.generate("a", regex="[0-9]{2,4}é", **options)  # type: ignore[call-overload]
        assert re.fullmatch("[0-9]{2,4}é", text)


def test_an_option_that_is_none_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match=r"temprature is no option of generate\. Did you mean 'temperature'"):
        load(run, device="cpu").generate("a", temprature=1)  # type: ignore[call-overload]


def test_the_score_adds_up_and_counts_bytes_and_ends(run: Path) -> None:
    """Bytes are tokens here: "é" has two, and each text has an end."""
    lm = load(run, device="cpu")
    score = lm.score(["aé", "", "a text longer than a window"])
    one, two = lm.score("aé"), lm.score(["a text longer than a window"])
    assert (score.tokens, score.bytes) == (4 + 28, 3 + 27)
    assert (one.tokens + two.tokens, one.bytes + two.bytes) == (score.tokens, score.bytes)
    assert one.loss_sum + two.loss_sum == pytest.approx(score.loss_sum, rel=1e-6)
    assert score.perplexity == pytest.approx(math.exp(score.loss_sum / 32))
    assert score.bits_per_byte == pytest.approx(score.loss_sum / math.log(2) / 30)
    assert lm.score("a text longer than a window", stride=1).loss_sum != two.loss_sum
    with pytest.raises(UserError, match="no text to score"):
        lm.score(["", ""])


# what cannot be loaded


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    """Takes a key out of a nested dictionary."""

    def take(held: dict[str, Any]) -> None:
        for key in keys[:-1]:
            held = held[key]
        del held[keys[-1]]

    return take


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("manyheads"), "it has no entry 'manyheads'"),
        (without("state_dict"), "lacks state_dict"),
        (without("manyheads", "schema"), "lacks manyheads.schema"),
        (without("manyheads", "config"), "lacks manyheads.config"),
        (without("manyheads", "tokenizer"), "lacks manyheads.tokenizer"),
        (without("state_dict", "network.final_norm.weight"), "lacks network.final_norm.weight"),
        (without("state_dict", "head.weight"), "lacks head.weight"),
        (lambda held: held["manyheads"].update(schema=99, version="9.9"), "written by manyheads 9.9 (schema 99)"),
        (lambda held: held["manyheads"].update(config="a: ["), "cannot be read as a config"),
        (lambda held: held["manyheads"].update(config="a: 1"), "not the config of a manyheads run"),
        (lambda held: held["manyheads"].update(config="manyheads: {schema: 1}"), "names no model"),
        (lambda held: held["manyheads"].update(tokenizer="{}"), "its tokenizer cannot be read"),
        (lambda held: held["manyheads"].update(tokenizer=5), "lacks manyheads.tokenizer"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_named(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], message: str
) -> None:
    held = tiny_checkpoint()
    spoil(held)
    path = tmp_path / "some.ckpt"
    torch.save(held, path)
    with pytest.raises(UserError) as caught:
        load(path, device="cpu")
    assert message in str(caught.value)
    assert "some.ckpt" in str(caught.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "os.system is not a class of manyheads"),
        ("torch.load", "torch.load may not be built"),
        ("torch.hub.load", "torch.hub.load may not be built"),
        ("torch.utils.collect_env.run", "torch.utils.collect_env.run may not be built"),
    ],
)
def test_a_config_names_only_what_may_be_built(tmp_path: Path, target: str, message: str) -> None:
    """Nor can it allow itself more."""
    config = TINY_CONFIG.replace("manyheads.model.decoder.Decoder", target) + "allow: [os, torch]\n"
    run = tiny_run(tmp_path / "run", config)
    with pytest.raises(UserError) as caught:
        load(run, device="cpu")
    assert message in str(caught.value)


def test_a_device_that_is_not_there_is_named(run: Path) -> None:
    with pytest.raises(UserError, match="device=abacus: there is no such device here"):
        load(run, device="abacus")


def test_scores_add_up() -> None:
    """A NamedTuple's own + would chain the numbers."""
    one, other = Score(10.0, 5, 20), Score(2.5, 2, 6)
    assert one + other == sum([one, other]) == Score(12.5, 7, 26)
    assert isinstance(one + other, Score)
