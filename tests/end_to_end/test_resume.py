"""Guards a run that was stopped and goes on: in its own folder, to the same end, without a gap or a row twice."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import manyheads

ROOT = Path(__file__).parents[2]
MORE = ["trainer.max_steps=14", "trainer.val_every_n_steps=5"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def without_speed(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "perf/tokens_per_sec"} for row in rows]


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a signal come while the given optimizer step is made, once."""
    from manyheads.lm import LM

    def at(step: int, signum: int = signal.SIGTERM) -> None:
        plain, sent = LM.training_step, []

        def training_step(self: LM, batch: Any, batch_idx: int) -> Any:
            if self.trainer.global_step == step - 1 and not sent:
                sent.append(step)
                os.kill(os.getpid(), signum)
            return plain(self, batch, batch_idx)

        monkeypatch.setattr(LM, "training_step", training_step)

    return at


def test_a_folder_with_spaces_in_its_name_resumes(cli: Callable[..., Any], tiny_trained: Any, tmp_path: Path) -> None:
    run = tmp_path / "my runs" / "the first"
    shutil.copytree(tiny_trained.folder, run)
    done = cli("train", "resume='my runs/the first'", "trainer.max_steps=7")
    assert (done.code, done.err, done.folders) == (0, "", [])
    assert json.loads((run / "results.json").read_text())["run"]["steps"] == 7


@pytest.mark.parametrize("step", [pytest.param(7, marks=pytest.mark.slow), 5])
def test_a_stopped_run_goes_on_to_the_same_end(
    step: int, cli: Callable[..., Any], tiny: list[str], stop_at: Callable[..., None]
) -> None:
    """In the middle of an epoch and between two rows of the log; and at the step of a validation."""
    whole = cli("train", *tiny, *MORE)
    assert whole.code == 0, whole.err
    stop_at(step)
    stopped = cli("train", *tiny, *MORE)
    assert stopped.code == 143
    results = stopped.results
    assert (results["run"]["status"], results["run"]["steps"], results["test"]) == ("interrupted", step, {})
    assert stopped.err.splitlines()[-1] == (
        f"error: Stopped by SIGTERM after step {step}, saved. "
        f"Go on with: manyheads train resume=outputs/runs/{stopped.folder.name}"
    )
    resumed = cli("train", f"resume={stopped.folder}")
    assert resumed.code == 0, resumed.err
    assert resumed.folders == []
    assert f"Resuming after step {step}." in resumed.out
    assert {name: stopped.results[name] for name in ("val", "test")} == {
        name: whole.results[name] for name in ("val", "test")
    }
    assert str(stopped.folder) not in (stopped.folder / "config.yaml").read_text(encoding="utf-8")
    run = stopped.results["run"]
    assert (run["status"], run["steps"], run["started"]) == ("done", 14, results["run"]["started"])
    assert (run["command"], run["resumes"]) == (results["run"]["command"], [f"manyheads train resume={stopped.folder}"])
    assert run["tokens_seen"] == whole.results["run"]["tokens_seen"]
    assert run["wall_seconds"] > results["run"]["wall_seconds"]
    assert all(torch.equal(value, weights(whole.folder)[name]) for name, value in weights(stopped.folder).items())
    assert without_speed(stopped.metrics) == without_speed(whole.metrics)


def test_a_resumed_run_takes_the_optimizers_new_settings(
    cli: Callable[..., Any], tiny_trained: Any, tmp_path: Path
) -> None:
    """Lightning loads those of before over them, while config.yaml says the new ones."""
    run = tmp_path / "run"
    shutil.copytree(tiny_trained.folder, run)
    before = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    new = ["optim.lr=0.25", "optim.weight_decay=0.5", "optim.schedule=constant", "trainer.max_steps=7"]
    done = cli("train", f"resume={run}", *new, "trainer.log_every_n_steps=1")
    assert done.code == 0, done.err
    after = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert {group["initial_lr"] for group in before}.isdisjoint({0.25})
    rates = [group["lr"] for group in after if "adamw_lr" not in str(group.get("key"))]
    assert set(rates) == {0.25}
    assert {group["weight_decay"] for group in after} == {0.5, 0.0}
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        row = list(csv.DictReader(file))[-1]
    assert float(row["optim/lr"]) == 0.25


@pytest.mark.slow
def test_a_budget_of_tokens_goes_on_where_it_was(cli: Callable[..., Any], tiny: list[str], stop_at: Any) -> None:
    """Guards against a checkpoint that knows the tokens of the step before, and a run that takes one step more."""
    words = [*tiny, "trainer.max_steps=null", "trainer.max_tokens=900"]
    whole = cli("train", *words)
    stop_at(4)
    stopped = cli("train", *words)
    record = torch.load(stopped.folder / "checkpoints" / "last.ckpt", weights_only=True)["manyheads"]
    assert record["budget"]["tokens"] == record["tokens_seen"] == record["provenance"]["tokens_seen"] > 0
    assert record["provenance"]["steps"] == record["step"] == 4
    assert cli("train", f"resume={stopped.folder}").code == 0
    assert stopped.results["run"]["tokens_seen"] == whole.results["run"]["tokens_seen"]
    assert stopped.results["test"] == whole.results["test"]


def test_a_finished_run_goes_on_with_more_steps(cli: Callable[..., Any], tiny: list[str]) -> None:
    done = cli("train", *tiny)
    name = f"resume=outputs/runs/{done.folder.name}"
    refused = cli("train", name)
    assert refused.code == 1
    assert "this run is finished at step 6" in refused.err
    assert "raise trainer.max_steps (it was 6)" in refused.err
    more = cli("train", name, "trainer.max_steps=9")
    assert more.code == 0, more.err
    assert more.folders == []
    assert [row["step"] for row in done.metrics] == [1, 2, 3, 4, 6, 8, 9]
    assert done.results["run"]["steps"] == 9
    assert torch.load(done.folder / "checkpoints" / "last.ckpt", weights_only=True)["manyheads"]["step"] == 9


@pytest.mark.slow
def test_a_resumed_run_does_not_log_a_step_twice(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at step 5, after the checkpoint of step 3: rows 4 and 5 are from steps that are made again."""

    class Killed(BaseException):
        pass

    class Kill(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == 5:
                raise Killed

    from manyheads.callbacks import build

    plain = build.Progress.on_train_batch_end
    monkeypatch.setattr(
        build.Progress, "on_train_batch_end", lambda self, trainer, *rest: Kill().on_train_batch_end(trainer)
    )
    words = [*tiny, "trainer.log_every_n_steps=1"]
    killed = cli("train", *words)
    monkeypatch.setattr(build.Progress, "on_train_batch_end", plain)
    assert killed.code == 1
    assert killed.results["run"]["status"] == "failed"
    assert [row["step"] for row in killed.metrics] == [1, 2, 3, 4, 5]
    resumed = cli("train", f"resume={killed.folder}")
    assert resumed.code == 0, resumed.err
    whole = cli("train", *words)
    assert without_speed(killed.metrics) == without_speed(whole.metrics)
    assert killed.results["test"] == whole.results["test"]


# another place


@pytest.fixture
def moved(cli: Callable[..., Any], tiny: list[str], corpus: Path, tmp_path: Path, stop_at: Any) -> Path:
    """An interrupted run, copied elsewhere; the original is gone, and so is its data."""
    data = tmp_path / "data"
    shutil.copytree(corpus, data)
    stop_at(4)
    done = cli("train", *tiny, "data.path=data")
    assert done.code == 143
    elsewhere = tmp_path / "elsewhere" / "copy"
    shutil.copytree(done.folder, elsewhere)
    shutil.rmtree(tmp_path / "outputs")
    shutil.rmtree(data)
    return elsewhere


def test_a_run_that_was_copied_loads_generates_scores_and_resumes(
    moved: Path, corpus: Path, cli: Callable[..., Any], tiny_trained: Any
) -> None:
    lm = manyheads.load(moved)
    assert lm.record["step"] == 3
    assert lm.folder == moved.resolve()
    written = cli("generate", f"run={moved}", "the", "max_new_tokens=5")
    assert written.code == 0, written.err
    for verb, key in (("eval", "run"), ("train", "resume")):
        refused = cli(verb, f"{key}={moved}")
        assert refused.code == 1
        assert refused.err.startswith("error: data.path=data: there is no such file or folder.")
    assert cli("eval", f"run={moved}", f"data.path={corpus}").code == 0
    resumed = cli("train", f"resume={moved}", f"data.path={corpus}")
    assert resumed.code == 0, resumed.err
    results = json.loads((moved / "results.json").read_text(encoding="utf-8"))
    assert results["test"] == tiny_trained.results["test"]
    assert not Path("outputs/runs").exists()
    assert cli("eval", f"run={moved}").code == 0


# real processes and real signals


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)])
def test_a_signal_to_a_real_process(
    signum: int, code: int, tiny: list[str], tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """The exit code that a shell expects, results.json says interrupted, and the resumed run ends where the other does."""
    words = [*tiny, "trainer.max_steps=400", "trainer.val_every_n_steps=100", "++callbacks.samples=0"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    metrics = None
    for _ in range(1200):
        metrics = next(tmp_path.glob("outputs/runs/*/metrics.csv"), None)
        if metrics is not None and len(metrics.read_text(encoding="utf-8").splitlines()) > 5:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signum)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err.decode()
    assert metrics is not None
    folder = metrics.parent
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    step = results["run"]["steps"]
    assert results["run"]["status"] == "interrupted"
    assert 8 < step < 400
    assert f"after step {step:,}, saved. Go on with: python train.py resume=outputs/runs/{folder.name}" in err.decode()
    assert "Traceback" not in out.decode() + err.decode()
    resumed = cli("train", f"resume={folder}")
    assert resumed.code == 0, resumed.err
    whole = cli("train", *words)
    finished = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert finished["test"] == whole.results["test"]
    steps = [line.partition(",")[0] for line in metrics.read_text(encoding="utf-8").splitlines()]
    assert steps == [
        line.partition(",")[0] for line in (whole.folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.slow
def test_a_compiled_run_goes_on_and_writes(
    cli: Callable[..., Any], tiny: list[str], stop_at: Callable[..., None]
) -> None:
    """With the machine's own compiler and recomputed blocks: names of weights stay, numbers nearly so, and nothing that
    reads the run has to know of it."""
    whole = cli("train", *tiny, *MORE, "model.dropout=0")
    stop_at(7)
    stopped = cli("train", *tiny, *MORE, "model.dropout=0", "compile=true", "activation_checkpointing=1")
    assert stopped.code == 143, stopped.err
    resumed = cli("train", f"resume={stopped.folder}")
    assert resumed.code == 0, resumed.err
    assert weights(stopped.folder).keys() == weights(whole.folder).keys()
    results = json.loads((stopped.folder / "results.json").read_text(encoding="utf-8"))
    assert results["run"]["steps"] == 14
    assert results["test"]["loss"] == pytest.approx(whole.results["test"]["loss"], rel=1e-3)
    assert not [name for name in weights(stopped.folder) if "_orig_mod" in name]
    scored = cli("eval", f"run={stopped.folder}", "to=figures.json")
    assert scored.code == 0, scored.err
    told = json.loads(Path("figures.json").read_text(encoding="utf-8"))
    assert told["test"]["loss"] == pytest.approx(results["test"]["loss"], rel=1e-5)
    written = cli("generate", f"run={stopped.folder}", "max_new_tokens=4", "device=cpu", "ab")
    assert (written.code, written.err) == (0, "")
    assert written.out.startswith("ab")


@pytest.mark.slow
def test_a_run_in_float64_goes_on_and_is_scored_in_float64(
    cli: Callable[..., Any], tiny: list[str], stop_at: Callable[..., None]
) -> None:
    """Guards weights that pass through float32 on their way back from a checkpoint."""
    words = [*tiny, "trainer.precision=64", "trainer.log_every_n_steps=1", "++callbacks.samples=0"]
    whole = cli("train", *words)
    stop_at(2)
    stopped = cli("train", *words)
    assert stopped.code == 143
    resumed = cli("train", f"resume={stopped.folder}")
    assert resumed.code == 0, resumed.err
    assert [row["train/loss"] for row in stopped.metrics if "train/loss" in row] == [
        row["train/loss"] for row in whole.metrics if "train/loss" in row
    ]
    assert cli("eval", f"run={whole.folder}", "to=figures.json").code == 0
    assert json.loads(Path("figures.json").read_text(encoding="utf-8"))["test"] == whole.results["test"]
    lm = manyheads.load(whole.folder)
    assert {parameter.dtype for parameter in lm.network.parameters()} == {torch.float64}
    assert lm.generate("the", max_new_tokens=3, temperature=0.0)
