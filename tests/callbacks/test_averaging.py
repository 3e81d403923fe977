from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from manyheads.callbacks.averaging import TRAINED, Averaging
from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.errors import UserError
from manyheads.optim.averaging import RunningAverage
from manyheads.optim.schedule_free import schedule_free

KEY = "network.weight"


class Watch(pl.Callback):
    """The weights after each step, in each validation and when samples would be written."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []
        self.validations: list[Tensor] = []
        self.samples: list[Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append(pl_module.network.weight.detach().clone())

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.validations.append(pl_module.network.weight.detach().clone())

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.samples.append(pl_module.network.weight.detach().clone())


def run(fit: Any, lm: Any, running: RunningAverage | None, folder: Path, **options: Any) -> Watch:
    watch = Watch()
    checkpoint = RunCheckpoint(folder=folder, monitor="val/bits_per_byte", higher_is_better=False)
    torch.manual_seed(0)
    options = {"max_steps": 8, "val_check_interval": 4, **options}
    fit(lm, [watch, Averaging(running), checkpoint], **options)
    return watch


def saved(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def seeded(tiny: Callable[..., Any], **settings: Any) -> Any:
    torch.manual_seed(5)
    return tiny(**settings)


def test_validation_samples_and_checkpoints_have_the_mean_and_training_does_not(
    fit: Any, tiny: Any, tmp_path: Path
) -> None:
    # guards: averages that leak into training, and trained weights that leak into a score or a file; the averages after
    # steps 4 to 8 of 8 are means of the weights that were seen there
    plain = run(fit, seeded(tiny), None, tmp_path / "plain")
    averaged = run(fit, seeded(tiny, scores=[1.0, 2.0]), RunningAverage("swa", start=0.5), tmp_path / "swa")
    assert all(torch.equal(one, other) for one, other in zip(plain.steps, averaged.steps, strict=True))
    mean = torch.stack(averaged.steps[3:]).mean(0)
    assert torch.equal(averaged.validations[0], averaged.steps[3])  # the average of one
    for seen in (
        averaged.validations[-1],
        averaged.samples[-1],
        saved(tmp_path / "swa" / "last.ckpt")["state_dict"][KEY],
    ):
        torch.testing.assert_close(seen, mean, rtol=1e-6, atol=1e-7)
    assert torch.equal(saved(tmp_path / "swa" / "last.ckpt")[TRAINED][KEY], averaged.steps[-1])
    assert (mean - averaged.steps[-1]).abs().max() > 1e-4
    assert torch.equal(saved(tmp_path / "swa" / "best.ckpt")["state_dict"][KEY], averaged.validations[0])
    assert TRAINED not in saved(tmp_path / "plain" / "last.ckpt")


def test_before_the_start_nothing_is_averaged(fit: Any, tiny: Any, tmp_path: Path) -> None:
    # guards: a checkpoint of averages that are not there yet
    watch = run(fit, seeded(tiny), RunningAverage("swa", start=1.0), tmp_path, max_steps=8, val_check_interval=4)
    assert torch.equal(watch.validations[0], watch.steps[3])
    content = saved(tmp_path / "best.ckpt")
    assert TRAINED not in content
    assert torch.equal(content["state_dict"][KEY], watch.steps[3])


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_goes_on_to_the_bit(kind: Any, fit: Any, tiny: Any, tmp_path: Path) -> None:
    # guards: averages, counts or trained weights that a resumed run lacks
    class Calm(tiny):  # type: ignore[misc, valid-type]
        """No dropout: what a generator would draw is not what is tested here."""

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return self.network(batch * (batch_idx + 1)).square().sum() * 0.01

    def average() -> RunningAverage:
        return RunningAverage(kind, start=0.2, decay=0.9)

    whole = run(fit, seeded(Calm), average(), tmp_path / "whole")
    checkpoint = RunCheckpoint(folder=tmp_path / "part", monitor="val/bits_per_byte", higher_is_better=False)

    class Leave(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            raise KeyError("left")

    with pytest.raises(KeyError):
        fit(seeded(Calm), [Averaging(average()), checkpoint, Leave()], max_steps=8, val_check_interval=4)
    torch.manual_seed(99)
    resumed = run(fit, Calm(), average(), tmp_path / "rest", resume=tmp_path / "part" / "last.ckpt")
    assert len(resumed.steps) == 4
    assert all(torch.equal(one, other) for one, other in zip(whole.steps[4:], resumed.steps, strict=True))
    assert torch.equal(whole.validations[-1], resumed.validations[-1])
    ours, theirs = (saved(tmp_path / name / "last.ckpt") for name in ("whole", "rest"))
    for entry in (TRAINED, "state_dict"):
        assert all(torch.equal(value, theirs[entry][name]) for name, value in ours[entry].items())


def test_an_optimizer_that_averages_itself_is_asked_and_wants_no_other(fit: Any, tiny: Any, tmp_path: Path) -> None:
    # guards: scores of y where x is meant, and two averages at once
    class Free(tiny):  # type: ignore[misc, valid-type]
        def configure_optimizers(self) -> Any:
            return schedule_free(module=self, lr=0.1).optimizer

    lm = seeded(Free)
    watch = run(fit, lm, None, tmp_path / "free")
    want = lm.trainer.optimizers[0].averages()[lm.network.weight]
    assert torch.equal(lm.network.weight, watch.steps[-1])
    assert torch.equal(watch.validations[-1], want)
    assert torch.equal(saved(tmp_path / "free" / "last.ckpt")["state_dict"][KEY], want)
    assert (want - watch.steps[-1]).abs().max() > 1e-4
    with pytest.raises(UserError) as error:
        run(fit, seeded(Free), RunningAverage("ema"), tmp_path / "both")
    assert str(error.value) == (
        "callbacks.averaging=ema: this optimizer averages weights itself. Set callbacks.averaging=null, or another optim."
    )


def test_tied_weights_are_one_average_under_both_names(fit: Any, tiny: Any, tmp_path: Path) -> None:
    # guards: an average under one name and the trained weight under the other
    class Tied(tiny):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 3, bias=False)
            self.head.weight = self.network.weight

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(fit, seeded(Tied), RunningAverage("ema"), tmp_path)
    content = saved(tmp_path / "last.ckpt")
    assert torch.equal(content["state_dict"][KEY], content["state_dict"]["head.weight"])
    assert not torch.equal(content["state_dict"][KEY], content[TRAINED][KEY])
