"""Guards the main job: what a run shows, what it leaves, and that its numbers are the same wherever they are read."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import manyheads
from manyheads.logger.csv import CsvLog
from manyheads.run.folder import read_config
from manyheads.run.results import RunRecord
from manyheads.run.screen import _number

FILES = {
    "config.yaml", "results.json", "metrics.csv", "train.log", "predictions/test.jsonl",
    "checkpoints/best.ckpt", "checkpoints/last.ckpt",
    "export/config.json", "export/model.safetensors", "export/tokenizer.json", "export/tokenizer_config.json",
    "export/README.md",
}  # fmt: skip


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# what is left


def test_a_run_leaves_these_files_and_no_other(tiny_trained: Any) -> None:
    """Guards against temporary files left behind, and against what Hydra, Lightning or W&B would write beside ours."""
    assert files(tiny_trained.folder) == FILES
    assert files(tiny_trained.folder.parents[1]) == {f"runs/{tiny_trained.folder.name}/{name}" for name in FILES}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-generation-tiny", tiny_trained.folder.name)
    assert not [path for path in tiny_trained.folder.rglob("*") if path.is_symlink()]


def test_results_say_how_it_went_and_where_it_comes_from(tiny_trained: Any, corpus: Path) -> None:
    results = tiny_trained.results
    assert set(results) == {"schema", "val", "test", "perf", "run", "directions", "baselines", "samples"}
    assert results["schema"] == 1
    assert (
        set(results["val"])
        == set(results["test"])
        == {"loss", "perplexity", "bits_per_byte", "accuracy", "perplexity_per_word"}
    )
    directions = {name: "higher" if name == "accuracy" else "lower" for name in results["val"]}
    assert results["directions"] == directions
    assert set(results["perf"]) == {"tokens_per_sec", "peak_memory_bytes"}
    run = results["run"]
    assert set(run) <= set(RunRecord.__annotations__)
    expected = {
        "status": "done", "task": "generation", "data": "json", "tokenizer": "byte", "model": "tiny", "optim": "muon",
        "seed": 1, "steps": 6, "tags": [], "name": tiny_trained.folder.name, "folder": tiny_trained.folder.name,
        "wandb_id": None, "mlflow_id": None,
    }  # fmt: skip
    assert {name: run[name] for name in expected} == expected
    assert run["command"].startswith(f"manyheads train data=json data.path={corpus} ")
    assert datetime.fromisoformat(run["started"]).utcoffset() is not None
    assert run["versions"]["torch"] == torch.__version__
    assert {"python", "manyheads", "pytorch-lightning", "hydra-core", "tokenizers", "datasets"} <= set(run["versions"])
    assert re.fullmatch(r"[0-9a-f]{16,}", run["data_fingerprint"])
    assert re.fullmatch(r"[0-9a-f]{16,}", run["tokenizer_fingerprint"])
    assert 0 < run["train_seconds"] < run["wall_seconds"] < 120
    assert 1e7 < results["perf"]["peak_memory_bytes"] < 1e11
    seconds = run["tokens_seen"] / results["perf"]["tokens_per_sec"]
    assert seconds == pytest.approx(run["train_seconds"], abs=0.0006)  # milliseconds are kept
    # 257 embeddings that are the output too, one block (4 attention matrices, three of SwiGLU), three norms
    network = manyheads.load(tiny_trained.folder).network
    assert run["parameters"] == sum(p.numel() for p in network.parameters())


def test_the_checkpoint_rebuilds_itself_and_says_the_same(tiny_trained: Any) -> None:
    folder = tiny_trained.folder
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    record, run = content["manyheads"], tiny_trained.results["run"]
    assert (record["schema"], record["step"], record["tokens_seen"]) == (1, 6, run["tokens_seen"])
    assert record["config"] == (folder / "config.yaml").read_text(encoding="utf-8")
    said = record["provenance"]
    moving = {"wall_seconds", "peak_memory_bytes"}  # they go on after the checkpoint
    assert moving <= set(said)
    assert {name: run[name] for name in said if name not in moving} == {
        n: v for n, v in said.items() if n not in moving
    }
    assert {"git_commit", "git_dirty", "command", "versions", "device", "seed", "data_fingerprint"} <= set(said)
    assert {"tokenizer_fingerprint", "tokens_seen"} <= set(said)
    assert str(folder) not in repr({name: value for name, value in content.items() if name != "state_dict"})
    assert all(name.startswith(("network.", "head.")) for name in content["state_dict"])


def test_the_config_says_everything_and_its_version(tiny_trained: Any) -> None:
    config, stamp = read_config(type("Folder", (), {"config": tiny_trained.folder / "config.yaml"})())
    assert (stamp["schema"], stamp["version"]) == (1, manyheads.__version__)
    assert (stamp["choices"]["data"], stamp["choices"]["logger"]) == ("json", "csv")
    assert (config.model.dim, config.model.norm, config.task.pack) == (16, "rmsnorm", True)


def test_one_row_for_each_logged_step(tiny_trained: Any) -> None:
    """Guards against rows of micro-batches, and against a validation or test in a row of its own."""
    rows, run = tiny_trained.metrics, tiny_trained.results["run"]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 6]
    trained = {"train/loss", "train/tokens", "optim/lr", "train/grad_norm"}
    assert [trained <= set(row) for row in rows] == [True, True, False, True, True]
    assert ["val/loss" in row for row in rows] == [False, False, True, False, True]
    tokens = [row["train/tokens"] for row in rows]
    assert tokens == sorted(set(tokens))
    assert tokens[-1] == run["tokens_seen"]
    test = {f"test/{name}": value for name, value in tiny_trained.results["test"].items()}
    assert {name: value for name, value in rows[-1].items() if name.startswith("test/")} == test


def test_the_axis_counts_optimizer_steps_also_under_accumulation(cli: Callable[..., Any], tiny: list[str]) -> None:
    """Six steps of two micro-batches of two rows are the six steps of four rows: the same rows, tokens and losses."""
    whole = cli("train", *tiny, "++task.shuffle=false", "task.pack=false")
    halves = cli("train", *tiny, "++task.shuffle=false", "task.pack=false", "task.batch_size=2",
                 "++task.eval_batch_size=4", "trainer.accumulate_grad_batches=2")  # fmt: skip
    assert len(whole.metrics) == len(halves.metrics) == 5
    for one, two in zip(whole.metrics, halves.metrics, strict=True):
        one.pop("perf/tokens_per_sec", None)
        two.pop("perf/tokens_per_sec", None)
        assert two == pytest.approx(one, rel=2e-4)
        assert (two["step"], two["train/tokens"]) == (one["step"], one["train/tokens"])


def test_predictions_add_up_to_the_test_figures_over_every_byte(tiny_trained: Any, texts: dict[str, list[str]]) -> None:
    lines = (tiny_trained.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == list(range(len(texts["test"])))
    assert [row["bytes"] for row in rows] == [len(text.encode()) for text in texts["test"]]
    assert [row["tokens"] for row in rows] == [len(text.encode()) + 1 for text in texts["test"]]
    loss, tokens, num_bytes = (sum(row[name] for row in rows) for name in ("loss", "tokens", "bytes"))
    test = tiny_trained.results["test"]
    assert test["loss"] == pytest.approx(loss / tokens, rel=1e-6)
    assert test["perplexity"] == pytest.approx(math.exp(loss / tokens), rel=1e-6)
    assert test["bits_per_byte"] == pytest.approx(loss / math.log(2) / num_bytes, rel=1e-6)


# what is shown


def test_the_screen_says_these_things_in_this_order(tiny_trained: Any, texts: dict[str, list[str]]) -> None:
    """Piped, as here, the same as plain lines: no control character, nothing drawn over."""
    out = tiny_trained.out
    assert tiny_trained.err == ""
    assert all(char == "\n" or char.isprintable() for char in out)
    sizes = {split: sum(len(text.encode()) for text in rows) for split, rows in texts.items()}
    order = [
        r"^task +generation, rows of 32 tokens, 4 in a batch",
        rf"^data +json: train 90 rows, {sizes['train'] / 1000:.1f} kB, {sizes['train'] + 90:,} tokens",
        rf"validation 11 rows, {sizes['validation'] / 1000:.1f} kB",
        rf"test 14 rows, {sizes['test'] / 1000:.1f} kB, {sizes['test'] + 13:,} tokens",
        r"^tokenizer +byte, vocabulary of 257",
        rf"^network +tiny: {tiny_trained.results['run']['parameters']:,} parameters \(",
        r"^optimizer +muon, 6 steps",
        r"^device +cpu: .*32-true",
        r"^folder +outputs/runs/",
        r"^step 1/6 .* loss \d",
        r"^step 2/6 ",
        r"^step 3/6  validation  loss .*  perplexity .*  bits per byte .*  best",
        r"^    │ ",
        r"^step 4/6 ",
        r"^step 6/6 ",
        r"^step 6/6  validation ",
        r"^    │ ",
        r"^ +best checkpoint +validation +test +unigram$",
        r"^ +loss +\d",
        r"^ +perplexity +\d",
        r"^ +bits per byte +\d",
        r"^ +perplexity per word +\d",
        r"tokens/s, [\d,]+ tokens in [\d.]+ minutes, at most .* of memory",
        r"^run folder: outputs/runs/",
        r"^Next:",
        r"^  manyheads generate run=outputs/runs/",
        r"^  manyheads eval run=outputs/runs/",
    ]
    place = 0
    for pattern in order:
        found = re.compile(pattern, re.MULTILINE).search(out, place)
        assert found, (pattern, out)
        place = found.end()
    for name, value in tiny_trained.results["test"].items():
        assert _number(value) in out, name


def test_how_varied_the_samples_of_the_best_weights_are(tiny_trained: Any) -> None:
    """As they were logged at the validation of the best checkpoint, and shown below the texts."""
    rows = {int(row["step"]): row for row in CsvLog(folder=tiny_trained.folder).rows()}
    found = tiny_trained.results["samples"]
    logged = [
        {name.removeprefix("val/sample_"): value for name, value in row.items() if name.startswith("val/sample_")}
        for row in rows.values()
        if row.get("val/bits_per_byte") == pytest.approx(tiny_trained.results["val"]["bits_per_byte"], rel=1e-6)
    ]
    assert logged == [found]
    assert f"distinct 1 {found['distinct_1']:.4f}  distinct 2 {found['distinct_2']:.4f}" in tiny_trained.out


def test_the_log_holds_what_the_screen_showed(tiny_trained: Any) -> None:
    log = (tiny_trained.folder / "train.log").read_text(encoding="utf-8")
    assert re.sub(r"\s+", "", log) == re.sub(r"\s+", "", tiny_trained.out)


# again, elsewhere, from other weights


def test_the_same_seed_gives_the_same_weights(tiny_trained: Any, cli: Callable[..., Any], tiny: list[str]) -> None:
    again = cli("train", *tiny)
    for name in ("best", "last"):
        assert same(weights(tiny_trained.folder, name), weights(again.folder, name))
    assert again.results["test"] == tiny_trained.results["test"]


def test_init_starts_from_the_weights_of_another_run_alone(
    tiny_trained: Any, cli: Callable[..., Any], tiny: list[str]
) -> None:
    """With a rate of zero nothing is learned, so the figures are those of the weights it started from."""
    still = ["optim=adam", "optim.lr=0", "trainer.max_steps=2", "seed=5"]
    unnamed = [word for word in tiny if not word.startswith("tokenizer=")]
    best = cli("train", *unnamed, *still, f"init={tiny_trained.folder}")
    assert same(weights(best.folder), weights(tiny_trained.folder, "best"))
    assert best.results["val"] == tiny_trained.results["val"]
    assert [row["step"] for row in best.metrics] == [1, 2]
    assert best.metrics[0]["optim/lr"] == 0
    # with another tokenizer, as the default is, the weights would mean nothing: theirs is kept, and the record says so
    assert best.results["run"]["tokenizer"] == "byte"
    config = yaml.safe_load((best.folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["tokenizer"]["_target_"] == "manyheads.tokenizer.byte.byte"
    assert config["manyheads"]["choices"]["tokenizer"] == "byte"


def test_two_runs_of_one_second_have_two_folders(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr("manyheads.run.folder.datetime", Frozen)
    one, two = (cli("train", *tiny, "trainer.max_steps=1", f"seed={seed}") for seed in (1, 2))
    assert [one.folder.name, two.folder.name] == [f"2026-01-02_03-04-05-generation-tiny{end}" for end in ("", "-2")]
    assert (one.results["run"]["seed"], two.results["run"]["seed"]) == (1, 2)


def test_from_python(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_trained: Any) -> None:
    """`manyheads.train` returns what results.json holds, and `manyheads.load` opens the folder."""
    monkeypatch.chdir(tmp_path)
    results = manyheads.train(overrides=tiny)
    folder = tmp_path / "outputs" / "runs" / results["run"]["folder"]
    assert json.loads((folder / "results.json").read_text(encoding="utf-8")) == results
    assert results["test"] == tiny_trained.results["test"]
    assert "model.dim=16" in results["run"]["command"]
    lm = manyheads.load(folder)
    assert isinstance(lm.generate("the", max_new_tokens=3), str)
    assert lm.score("the").tokens == 4


# how long


@pytest.mark.parametrize(
    ("limit", "steps"),
    [
        ("trainer.max_epochs=2", 2 * 13),
        ("trainer.max_tokens=1000", 8),  # 128 in a step: seven are too few
        pytest.param("trainer.max_minutes=1e-7", 1, marks=pytest.mark.slow),
    ],
)
def test_whichever_budget_is_used_up_first_ends_the_run(
    limit: str, steps: int, cli: Callable[..., Any], tiny: list[str], texts: dict[str, list[str]]
) -> None:
    """Each ends with a validation and its scores; the schedule has come to its end."""
    words = [*tiny, "trainer.max_steps=null", "trainer.val_every_n_steps=500", "trainer.log_every_n_steps=1"]
    words += ["task.pack=false", "task.batch_size=8"] if "epochs" in limit else []
    done = cli("train", *words, limit)
    assert done.code == 0, done.err
    results = done.results
    if "epochs" in limit:
        rows = sum(-(-(len(text.encode()) + 1) // 32) for text in texts["train"])
        steps = 2 * -(-rows // 8)
        assert results["run"]["tokens_seen"] == 2 * sum(len(text.encode()) + 1 for text in texts["train"])
    assert results["run"]["steps"] == steps
    assert [row["step"] for row in done.metrics] == list(range(1, steps + 1))
    assert "val/loss" in done.metrics[-1]
    if steps > 1 and "minutes" not in limit:
        assert done.metrics[-1]["optim/lr"] < done.metrics[0]["optim/lr"] / 2


def test_early_stopping_ends_a_run_that_gets_no_better(cli: Callable[..., Any], tiny: list[str]) -> None:
    done = cli("train", *tiny, "optim=adam", "optim.lr=0", "trainer.max_steps=50", "trainer.val_every_n_steps=2",
               "++callbacks.patience=2")  # fmt: skip
    assert done.code == 0, done.err
    assert done.results["run"]["steps"] == 6
    assert "has not improved for 2 validations: training stops early" in done.out


# checkpoints


def test_checkpoints_of_each_kind_are_kept_and_pruned(cli: Callable[..., Any], tiny: list[str]) -> None:
    done = cli("train", *tiny, "trainer.max_steps=8", "trainer.val_every_n_steps=1", "++callbacks.save_best=3",
               "++callbacks.save_every_n_steps=2", "++callbacks.keep=2", "++callbacks.samples=0")  # fmt: skip
    assert done.code == 0, done.err
    step = {
        path.name: torch.load(path, weights_only=True)["manyheads"]["step"]
        for path in (done.folder / "checkpoints").iterdir()
    }
    scores = {row["step"]: row["val/bits_per_byte"] for row in done.metrics}
    best = sorted(scores, key=scores.__getitem__)[:3]
    assert step == {
        "best.ckpt": best[0], "best-2.ckpt": best[1], "best-3.ckpt": best[2], "last.ckpt": 8,
        "step_00000006.ckpt": 6, "step_00000008.ckpt": 8,
    }  # fmt: skip


# debug


def test_debug_fast_does_one_step_of_everything(cli: Callable[..., Any], tiny: list[str]) -> None:
    words = [word for word in tiny if not word.startswith(("trainer.", "logger"))]
    done = cli("train", *words, "debug=fast")
    assert done.code == 0, done.err
    assert files(done.folder) == FILES
    assert [row["step"] for row in done.metrics] == [1]
    assert {"train/loss", "val/loss", "test/loss"} <= set(done.metrics[0])


@pytest.mark.slow
def test_debug_profile_leaves_a_trace_that_a_browser_opens(cli: Callable[..., Any], tiny: list[str]) -> None:
    words = [word for word in tiny if not word.startswith(("trainer.", "logger"))]
    done = cli("train", *words, "debug=profile", "trainer.max_steps=3")
    assert done.code == 0, done.err
    assert files(done.folder) == FILES | {"profile/trace.json"}
    trace = json.loads((done.folder / "profile" / "trace.json").read_text(encoding="utf-8"))
    assert any(event.get("name") == "aten::linear" for event in trace["traceEvents"])


@pytest.mark.slow
def test_debug_overfit_learns_one_row_by_heart(cli: Callable[..., Any], corpus: Path) -> None:
    """With the default network on a row of the data's own: below 0.05 nats, or something is wrong."""
    done = cli("train", "data=json", f"data.path={corpus}", "tokenizer=byte", "task.seq_len=64", "debug=overfit")
    assert done.code == 0, done.err
    assert done.metrics[-1]["train/loss"] < 0.05
    config, _ = read_config(type("Folder", (), {"config": done.folder / "config.yaml"})())
    assert (config.model.dropout, config.task.batch_size) == (0.0, 1)


@pytest.mark.slow
def test_the_transformer_of_2017_runs_as_given(cli: Callable[..., Any]) -> None:
    """One step of the whole recipe on the data that is always there: guards a vocabulary that it cannot fill."""
    done = cli("train", "experiment=transformer_512", "debug=fast")
    assert done.code == 0, done.err
    config, _ = read_config(type("Folder", (), {"config": done.folder / "config.yaml"})())
    assert (config.tokenizer.vocab_size, config.task.batch_size, config.trainer.max_epochs) == (10_000, 32, 5)
    assert config.optim._target_ == "manyheads.optim.adam.adam"
    assert 8 < done.metrics[0]["train/loss"] < 10  # ln 10,000 = 9.2
    assert 0 <= done.results["val"]["accuracy"] < 0.2


# compiled


@pytest.mark.slow
def test_compiled_weights_have_the_names_of_others(
    cli: Callable[..., Any], tiny: list[str], monkeypatch: pytest.MonkeyPatch, tiny_trained: Any
) -> None:
    """The backend `eager` traces as the real one does, and needs no compiler on the machine."""
    plain = torch.nn.Module.compile
    calls: list[Any] = []

    def compile_eagerly(self: torch.nn.Module, **options: Any) -> None:
        calls.append(self)
        plain(self, backend="eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_eagerly)
    done = cli("train", *tiny, "compile=true")
    assert done.code == 0, done.err
    assert len(calls) == 1
    for name in ("best", "last"):
        assert weights(done.folder, name).keys() == weights(tiny_trained.folder, name).keys()
        assert "_orig_mod" not in "".join(weights(done.folder, name))
    assert done.results["test"]["loss"] == pytest.approx(tiny_trained.results["test"]["loss"], rel=1e-4)
    assert cli("eval", f"run={done.folder}").code == 0
    assert cli("eval", f"run={done.folder}", "compile=false").code == 0


# piped, as a process


@pytest.mark.slow
def test_piped_output_is_plain_lines(tmp_path: Path, tiny: list[str], corpus: Path) -> None:
    """The front door itself, with colours asked for by nothing: no escape, no carriage return, nothing on stderr."""
    script = Path(__file__).parents[1] / "train.py"
    done = subprocess.run(
        [sys.executable, str(script), *tiny, "logger=wandb"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    assert all(char == "\n" or char.isprintable() for char in done.stdout.decode("utf-8"))
    (file,) = tmp_path.glob("outputs/runs/*/metrics.csv")
    with file.open(encoding="utf-8", newline="") as rows:
        assert [row["step"] for row in csv.DictReader(rows)] == ["1", "2", "3", "4", "6"]
