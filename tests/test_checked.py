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
