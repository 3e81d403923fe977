"""Guards: a record that forgets what came before a resume, or lets a secret out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from manyheads.lm import LM
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.run.folder import RunFolder
from manyheads.run.record import Record
from manyheads.run.results import RunRecord, read_results
from manyheads.run.resume import Resumed
from manyheads.testing import Rows, byte_tokenizer, tiny_network

CHOICES = {"task": "generation", "data": "rows", "tokenizer": "byte", "model": "tiny", "optim": "adamw"}
SOURCE = Rows({"train": ["abc"]})


class Higher(Loss):
    """A metric of which more is better."""

    name = "higher"
    higher_is_better = True


METRICS = (Loss, BitsPerByte, Higher)


def config(**changes: Any) -> DictConfig:
    return OmegaConf.create({"seed": 3, "name": None, "tags": ["a"], "logger": {"key": "x"}, **changes})


def lm() -> LM:
    network, head = tiny_network(byte_tokenizer().vocab_size)
    made = LM(network=network, head=head, metrics=METRICS)
    made.steps_done = 5
    made._tokens = 1000
    return made


def make(folder: Path, cfg: DictConfig | None = None, resumed: Resumed | None = None) -> Record:
    argv = ["train.py", "a=1"]
    return Record(
        RunFolder(folder),
        cfg or config(),
        CHOICES,
        argv,
        source=SOURCE,
        tokenizer=byte_tokenizer(),
        metrics=METRICS,
        resumed=resumed,
    )


def test_results_hold_every_key_of_the_schema_and_no_other(tmp_path: Path) -> None:
    """A key that nobody writes, or that the schema does not know, would mislead a reader of either."""
    results = make(tmp_path).write("done", lm(), {}, 2.0)
    assert set(results["run"]) == set(RunRecord.__annotations__)


def test_what_is_written_is_what_is_returned(tmp_path: Path) -> None:
    results = make(tmp_path).write("done", lm(), {"val/loss": 1.5, "test/bits_per_byte": 2.0}, 4.0)
    assert read_results(tmp_path / "results.json") == results
    assert (results["val"], results["test"]) == ({"loss": 1.5}, {"bits_per_byte": 2.0})
    assert results["perf"]["tokens_per_sec"] == 250.0
    assert results["directions"] == {"loss": "lower", "bits_per_byte": "lower", "higher": "higher"}


def test_signatures_of_scores_are_kept_where_there_are_some(tmp_path: Path) -> None:
    assert "signatures" not in make(tmp_path).write("done", lm(), {}, 4.0)
    record = make(tmp_path)
    record.signatures = {"val": {}, "test": {"bleu": "nrefs:1"}}
    record.write("done", lm(), {}, 4.0)
    assert read_results(tmp_path / "results.json")["signatures"] == {"val": {}, "test": {"bleu": "nrefs:1"}}


def test_the_run_part(tmp_path: Path) -> None:
    folder = tmp_path / "the-folder"
    folder.mkdir()
    run = make(folder).write("failed", lm())["run"]
    wanted = {
        "name": "the-folder", "folder": "the-folder", "status": "failed", "tags": ["a"], "seed": 3, "steps": 5,
        "tokens_seen": 1000, "model": "tiny", "data_fingerprint": SOURCE.fingerprint,
        "tokenizer_fingerprint": byte_tokenizer().fingerprint, "wandb_id": None,
    }  # fmt: skip
    assert {key: run.get(key) for key in wanted} == wanted
    assert run["parameters"] == sum(p.numel() for part in tiny_network(257) for p in part.parameters())


def test_a_run_that_did_not_train_has_no_rate(tmp_path: Path) -> None:
    assert set(make(tmp_path).write("failed", lm())["perf"]) == {"peak_memory_bytes"}


def test_a_name_and_a_group_from_outside(tmp_path: Path) -> None:
    record = Record(
        RunFolder(tmp_path),
        config(name="mine"),
        {"task": "generation"},
        [],
        source=SOURCE,
        tokenizer=byte_tokenizer(),
        metrics=METRICS,
    )
    run = record.write("running", lm())["run"]
    assert (run["name"], run["task"], run["model"]) == ("mine", "generation", "custom")


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    """Wall time, training time, the first start and the W&B run are those of the whole run."""
    before: Any = {
        "run": {"wandb_id": "abc", "wall_seconds": 100.0, "train_seconds": 60.0, "started": "2026-01-01T00:00:00+00:00"}
    }
    resumed = Resumed(RunFolder(tmp_path), tmp_path / "last.ckpt", 5, byte_tokenizer(), before)
    results = make(tmp_path, resumed=resumed).write("done", lm(), {}, 40.0)
    run = results["run"]
    assert (run["train_seconds"], run["wandb_id"], run["started"]) == (100.0, "abc", "2026-01-01T00:00:00+00:00")
    assert 100.0 <= run["wall_seconds"] < 110.0
    assert results["perf"]["tokens_per_sec"] == 10.0


def test_a_checkpoint_carries_what_rebuilds_the_run_and_how_far_it_is(tmp_path: Path) -> None:
    module = lm()
    whole = make(tmp_path).for_checkpoint("the: text\n")
    module.steps_done = 6
    found = whole(module)
    assert (found["schema"], found["config"]) == (1, "the: text\n")
    assert json.loads(found["tokenizer"])
    assert found["provenance"]["steps"] == 6
    assert found["provenance"]["seed"] == 3
    json.dumps(found)  # plain containers alone, as weights_only=True needs


def test_a_literal_secret_reaches_no_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    public = make(tmp_path, config(logger={"wandb": {"api_key": "hunter2"}})).public_config()
    assert "hunter2" not in json.dumps(public)
    assert public["seed"] == 3
    assert set(public["run"]) == {"folder", "git_commit", "git_dirty", "command", "versions"}
