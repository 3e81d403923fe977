"""Guards: a header or a last table that says something else than the run."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from manyheads.lm import LM
from manyheads.run.folder import RunFolder
from manyheads.run.results import Results
from manyheads.run.resume import Resumed
from manyheads.run.screen import (
    _warmup_note,
    below_baselines,
    header,
    scores_table,
    shown,
    summary,
    tell_notes,
    tell_scores,
    tell_signatures,
)  # fmt: skip
from manyheads.task.generation import Generation
from manyheads.testing import Rows, byte_tokenizer, tiny_network
from manyheads.trainer import trainer

CHOICES = {"task": "generation", "data": "rows", "model": "tiny", "optim": "adamw"}


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200, highlight=False)


def text_of(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def lines_of(console: Console) -> dict[str, str]:
    """The header's rows by the word that they begin with."""
    rows = (line.split(None, 1) for line in text_of(console).splitlines() if line and not line.startswith(" "))
    return {row[0]: row[1].rstrip() for row in rows if len(row) == 2}


def show(console: Console, folder: Path, *, resumed: Resumed | None = None, **limits: object) -> None:
    tokenizer = byte_tokenizer()
    source = Rows({"train": ["abc", "de"], "validation": ["é"], "test": ["x", ""]})
    task = Generation(source=source, tokenizer=tokenizer, seed=1, seq_len=8, batch_size=4)
    network, head = tiny_network(tokenizer.vocab_size)
    cfg = OmegaConf.create(
        {
            "task": {"seq_len": 8, "batch_size": 4},
            "trainer": {"max_steps": 1300, "max_minutes": None, "accumulate_grad_batches": 1, **limits},
        }
    )
    lm = LM(network=network, head=head, metrics=task.metrics)
    made = trainer(folder=folder, accelerator="cpu", devices=1, max_steps=1)
    header(console, cfg, CHOICES, RunFolder(folder), tokenizer, task, lm, made, resumed)


def test_the_header_names_what_is_trained(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    show(console, tmp_path / "run")
    lines = lines_of(console)
    assert lines["task"] == "generation, rows of 8 tokens, 4 in a batch"
    assert lines["data"] == "rows: train 2 rows, 5 B, 7 tokens"
    assert "validation 1 rows, 2 B, 3 tokens" in text_of(console)
    assert "test 2 rows, 1 B, 2 tokens" in text_of(console)
    assert lines["tokenizer"] == "byte, vocabulary of 257"
    parameters = sum(p.numel() for part in tiny_network(257) for p in part.parameters())
    assert lines["network"].startswith(f"tiny: {parameters:,} parameters ({4 * parameters / 1000:.1f} kB, ")
    assert f"{16 * parameters / 1000:.1f} kB with gradients and optimizer" in lines["network"]
    assert lines["optimizer"] == "adamw, 1,300 steps"
    assert re.fullmatch(r"cpu: .*thread.*, 32-true", lines["device"])
    assert lines["folder"] == "run"
    assert "note: 1 of 2 rows of test are empty and left out." in text_of(console)
    assert "Resuming" not in text_of(console)


def test_limits_accumulation_and_a_resume_are_told(console: Console, tmp_path: Path) -> None:
    resumed = Resumed(RunFolder(tmp_path), tmp_path / "last.ckpt", 7, byte_tokenizer(), None)
    show(console, tmp_path, resumed=resumed, max_minutes=2.5, accumulate_grad_batches=3)
    assert lines_of(console)["optimizer"] == "adamw, 1,300 steps, 2.5 minutes, 3 micro-batches a step"
    assert "Resuming after step 7." in text_of(console)
    assert "trained on" not in text_of(console)
    assert "changed" not in text_of(console)
    assert "begins anew" not in text_of(console)


def test_data_that_changed_since_is_told(console: Console, tmp_path: Path) -> None:
    record = {"provenance": {"data_fingerprint": "of other rows"}}
    show(console, tmp_path, resumed=Resumed(RunFolder(tmp_path), tmp_path / "x", 7, byte_tokenizer(), None, record))
    assert "note: the data (rows) is not what the run was trained on" in text_of(console)


def results(**perf: float | None) -> Results:
    val = {"loss": 1.0, "perplexity": 2.71828, "bits_per_byte": None}
    return {"schema": 1, "val": val, "test": {"loss": 12345.6789, "perplexity": 3.0, "bits_per_byte": 2.0}, "perf": perf,
            "run": {"tokens_seen": 1234567, "wall_seconds": 90.0}}  # fmt: skip


def test_the_end_has_the_scores_to_four_places_and_what_to_try(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    summary(
        console,
        RunFolder(tmp_path / "outputs" / "runs" / "x"),
        results(tokens_per_sec=4321.6, peak_memory_bytes=2.5e9),
        "val/loss",
        "predict {run} input.text=...",
    )
    lines = [line.strip() for line in text_of(console).splitlines() if line.strip()]
    assert [line.split() for line in lines[:3]] == [
        ["best", "checkpoint", "loss", "perplexity", "bits", "per", "byte"],
        ["validation", "1.0000", "2.7183", "-"],
        ["test", "12345.6789", "3.0000", "2.0000"],
    ]
    assert lines[3:] == [
        "4,322 tokens/s, 1,234,567 tokens in 1.5 minutes, at most 2.5 GB of memory",
        "run folder: outputs/runs/x",
        "Next:",
        "manyheads predict run=outputs/runs/x input.text=...",
        "manyheads eval run=outputs/runs/x",
    ]


def test_a_run_too_short_for_a_rate_still_ends(console: Console, tmp_path: Path) -> None:
    summary(console, RunFolder(tmp_path), results(peak_memory_bytes=1.0), "val/loss", "chat {run}")
    assert "0 tokens/s" in text_of(console)


def test_brackets_in_a_name_are_no_markup(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rich would read [b] as bold: the path that is shown would not be the run's, and [/x] would raise."""
    monkeypatch.chdir(tmp_path)
    show(console, tmp_path / "a[b]")
    assert lines_of(console)["folder"] == "a[b]"
    summary(console, RunFolder(tmp_path / "a[b]"), results(peak_memory_bytes=1.0), "val/loss", "chat {run}")
    assert text_of(console).count("a[b]") == 4
    tell_notes(console, ["passed over: x[/bold].txt"])
    assert "x[/bold].txt" in text_of(console)


def test_secrets_in_notes_are_masked(console: Console) -> None:
    tell_notes(console, ["from https://user:pw@host/data"])
    assert text_of(console) == "note: from https://***@host/data\n"


def test_a_path_as_it_would_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert shown(tmp_path / "here" / "a") == "a"
    assert shown(tmp_path / "b") == str(tmp_path / "b")


def test_a_table_of_one_split(console: Console) -> None:
    console.print(scores_table({"loss": 1.0}, {}))
    assert [line.split() for line in text_of(console).splitlines() if line.strip()] == [
        ["loss"],
        ["validation", "1.0000"],
    ]


def test_a_warm_up_that_the_run_does_not_outlast_is_told() -> None:
    """The run would end before it has come to its learning rate, and nothing else shows it."""
    config = OmegaConf.create({"optim": {"warmup_steps": 50}, "trainer": {"max_steps": 20}})
    (note,) = _warmup_note(config)
    assert note.startswith("the learning rate does not come to its peak: optim.warmup_steps=50 of 20 steps.")
    config.trainer.max_steps = 51
    assert _warmup_note(config) == []
    config.trainer.max_steps = None
    assert _warmup_note(config) == []


def test_a_resumed_run_says_what_is_not_as_it_was(console: Console, tmp_path: Path) -> None:
    """The clock from which a schedule by minutes goes on, the settings that were changed, and rows that are others."""
    resumed = Resumed(
        RunFolder(tmp_path), tmp_path / "x", 7, byte_tokenizer(), None, {"budget": {"seconds": 90.0}},
        place={"made_of": "other rows"}, changes=["optim.lr 0.1 -> 0.2", "data.path https://a:b@host/x -> y"],
    )  # fmt: skip
    show(console, tmp_path, resumed=resumed, max_minutes=2.5)
    assert text_of(console).splitlines()[-5:-1] == [
        "Resuming after step 7.",
        "The schedule goes on from the 1.5 of 2.5 minutes that are used: by a clock, so not to the bit.",
        "changed: optim.lr 0.1 -> 0.2, data.path https://***@host/x -> y",
        "The training rows or their order are others than before: this epoch begins anew with them.",
    ]


def test_baselines_stand_below_or_beside_the_scores(console: Console) -> None:
    """Rows under few scores, columns beside many; a score that a baseline does not have is a dash."""
    console.print(scores_table({}, {"loss": 1.0, "accuracy": 0.5}, "", {"best_guess": {"accuracy": 0.25}}))
    assert re.search(r"best guess +- +0\.2500", text_of(console))
    many = {f"score_{i}": float(i) for i in range(6)}
    console.print(scores_table({}, many, "", {"best_guess": {"score_5": 0.125}}))
    assert re.search(r"score 5 +5\.0000 +0\.1250", text_of(console))
    assert re.search(r"score 4 +4\.0000 +-", text_of(console))


@pytest.mark.parametrize(
    ("own", "metric", "expected"),
    [
        (0.21, "accuracy", "below its baselines: accuracy 0.2100, majority 0.2500, naive bayes 0.7500"),
        (0.5, "accuracy", "below its baseline: accuracy 0.5000, naive bayes 0.7500"),
        (0.8, "accuracy", None),
        (0.75, "accuracy", None),
        (0.5, "loss", "below its baseline: accuracy 0.5000, naive bayes 0.7500"),
        (None, "accuracy", None),
    ],
)
def test_a_model_below_its_baseline_is_said_so(own: float | None, metric: str, expected: str | None) -> None:
    """As good as a baseline is not below it; of a score that no baseline has, their own first one counts."""
    rules = {"majority": {"accuracy": 0.25}, "naive_bayes": {"accuracy": 0.75}}
    assert below_baselines({"accuracy": own, "loss": 1.0}, rules, {"accuracy": "higher"}, metric) == expected


def test_less_is_better_of_losses() -> None:
    rules, directions = {"unigram": {"bits_per_byte": 3.0}}, {"bits_per_byte": "lower"}
    assert below_baselines({"bits_per_byte": 2.9}, rules, directions, "bits_per_byte") is None
    said = below_baselines({"bits_per_byte": 3.1}, rules, directions, "bits_per_byte")
    assert said == "below its baseline: bits per byte 3.1000, unigram 3.0000 (less is better)"
    assert below_baselines({"bits_per_byte": 3.1}, {}, directions, "bits_per_byte") is None


def test_signatures_are_told_once_where_they_agree(console: Console) -> None:
    val = {"bleu": "nrefs:1", "rouge_1": "r", "rouge_2": "r"}
    tell_signatures(console, {"val": val, "test": {**val, "bleu": "nrefs:3"}})
    assert text_of(console).splitlines() == [
        "bleu (val): nrefs:1", "rouge_1, rouge_2 (val, test): r", "bleu (test): nrefs:3",
    ]  # fmt: skip


def test_each_of_several_tasks_is_held_to_its_own_baselines(console: Console) -> None:
    """Guards: a member that is below its baseline, of which nothing is said since another is compared."""
    test = {"loss": 2.0, "accuracy/topics": 0.6, "loss/text": 7.0}
    baselines = {"majority": {"accuracy/topics": 0.7}, "unigram": {"loss/text": 6.0}}
    tell_scores(console, {"test": test}, baselines, {"accuracy/topics": "higher", "loss/text": "lower"}, "val/loss")
    said = text_of(console)
    assert "below its baseline: accuracy/topics 0.6000, majority 0.7000" in said
    assert "below its baseline: loss/text 7.0000, unigram 6.0000 (less is better)" in said


def test_a_score_that_one_split_has_alone_keeps_its_column(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=80).print(scores_table({"loss": 1.0, "words": 4.0, "accuracy": 0.5}, {"loss": 2.0, "accuracy": 0.25}))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["loss", "accuracy", "words"],
        ["validation", "1.0000", "0.5000", "4.0000"],
        ["test", "2.0000", "0.2500", "-"],
    ]
