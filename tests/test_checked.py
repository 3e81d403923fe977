"""Guards: a mistake in the config that is told only after the data was read."""

from __future__ import annotations

import pytest

from manyheads.build import CONF_DIR
from manyheads.checked import checked
from manyheads.errors import UserError
from manyheads.run.compose import compose


def test_a_config_comes_back_with_every_default_and_the_number_of_devices() -> None:
    config, choices = compose("train", ["model=nano"], CONF_DIR)
    full, devices = checked(config, choices)
    assert devices == 1
    assert full.model.rotary_base == 10000.0
    assert "rotary_base" not in config.model


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["callbacks.find_lr=true", "trainer=ddp", "trainer.devices=2"], "callbacks.find_lr=true looks on one device, not 2"),
        (["trainer=ddp", "trainer.devices=2", "trainer.num_nodes=2"], "trainer.num_nodes=2: on each machine, start it with torchrun"),
        (["model.num_heads=3"], "model.num_heads=3"),
        (["callbacks.monitor=val/nothing"], "callbacks.monitor=val/nothing is not measured"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told(words: list[str], text: str) -> None:
    config, choices = compose("train", words, CONF_DIR)
    with pytest.raises(UserError) as caught:
        checked(config, choices)
    assert text in str(caught.value)


def test_a_network_that_counts_reads_its_text_once_whatever_the_number_of_steps() -> None:
    """Guards: an n-gram of the first thousand batches, since that is how many steps a network takes by default."""
    config, choices = compose("train", ["model=ngram"], CONF_DIR)
    assert choices["optim"] == "counting"
    full, _ = checked(config, choices)
    assert (full.trainer.max_steps, full.trainer.max_epochs) == (None, 1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["model=ngram", "optim=adamw"], "optim=adamw and model=ngram: it counts and has no gradient to step along. Set optim=counting"),
        (["optim=counting"], "optim=counting and model=tiny: counting steps nowhere. Set optim=muon"),
        (["model=ngram", "trainer.max_minutes=2"], "trainer.max_minutes=2: model=ngram counts its text in one pass. Set trainer.max_minutes=null."),
        (["model=ngram", "trainer.max_tokens=500"], "trainer.max_tokens=500: model=ngram counts its text in one pass."),
        (["model=ngram", "trainer.max_epochs=2"], "trainer.max_epochs=2: model=ngram would count each text 2 times. Set it to 1."),
        (["model=ngram", "++callbacks.averaging=ema"], "callbacks.averaging=ema: model=ngram counts"),
        (["model=ngram", "++callbacks.find_lr=true"], "callbacks.find_lr=True: model=ngram counts its text in one pass. Set callbacks.find_lr=false."),
        (["model=ngram", "++head.label_smoothing=0.1"], "head.label_smoothing=0.1: the network counts"),
        (["model=ngram", "++model.order=0"], "model.order=0"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_for_counts_is_refused(words: list[str], text: str) -> None:
    config, choices = compose("train", words, CONF_DIR)
    with pytest.raises(UserError) as caught:
        checked(config, choices)
    assert text in str(caught.value)


def test_a_learning_rate_has_no_meaning_for_counts() -> None:
    with pytest.raises(UserError, match=r"optim\.lr=0\.1: the optim chosen has no setting 'lr', and no other one\."):
        compose("train", ["model=ngram", "optim.lr=0.1"], CONF_DIR)


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["model=lstm"], 30),
        (["model=lstm", "trainer.max_steps=7"], 7),
        (["model=gru", "trainer.max_steps=7"], 7),
        (["model=gru", "trainer.max_epochs=2"], None),
    ],
)
def test_a_recipe_has_steps_for_each_model(words: list[str], steps: int | None) -> None:
    recipe = ["trainer.max_steps=null", "++trainer.max_steps_of={lstm: 30, rnn: 40}"]
    config, choices = compose("train", [*recipe, *words], CONF_DIR)
    full, _ = checked(config, choices)
    assert full.trainer.max_steps == steps
    assert full.trainer.max_steps_of is None


def test_a_model_that_a_recipe_does_not_have_is_named() -> None:
    config, choices = compose(
        "train", ["trainer.max_steps=null", "++trainer.max_steps_of={lstm: 30, rnn: 40}", "model=gru"], CONF_DIR
    )
    with pytest.raises(
        UserError, match=r"trainer\.max_steps_of has no number of steps for model=gru, only for lstm, rnn"
    ):
        checked(config, choices)
