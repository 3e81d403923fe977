"""Guards the figures that are read from a run folder: the ones that training printed, whatever the batches are."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import manyheads
from manyheads.build import CONF_DIR
from manyheads.eval import evaluate
from manyheads.run.base import base_of
from manyheads.run.compose import compose

Figures = dict[str, dict[str, float]]


@pytest.fixture
def figures(cli: Callable[..., Any], tmp_path: Path) -> Callable[..., Figures]:
    """What `python eval.py WORDS` writes: every digit."""

    def evaluate(*words: str) -> Figures:
        done = cli("eval", *words, "to=figures.json")
        assert done.code == 0, done.err
        assert done.err == ""
        return json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))

    return evaluate


def of_run(done: Any) -> Figures:
    return {split: done.results[split] for split in ("val", "test")}


def near(figures: Mapping[str, Mapping[str, float]], rel: float) -> dict[str, Any]:
    return {split: pytest.approx(values, rel=rel) for split, values in figures.items()}


def test_the_figures_are_those_of_training_to_the_last_digit(tiny_trained: Any, cli: Callable[..., Any]) -> None:
    """Printed, and returned."""
    words = [f"run={tiny_trained.folder}"]
    done = cli("eval", *words)
    assert (done.code, done.err, done.folders) == (0, "", [])
    shown = [line.split() for line in tiny_trained.out.splitlines()]
    for name in of_run(tiny_trained)["test"]:
        label = name.replace("_", " ")
        [line] = [line.split() for line in done.out.splitlines() if re.match(rf"  {label} +[\d-]", line)]
        assert line in [words[: len(line)] for words in shown]  # training's has a baseline beside them
    config, _ = compose("eval", words, CONF_DIR, base_of(words, "run"))
    assert evaluate(config) == of_run(tiny_trained)


def test_evaluation_leaves_the_run_as_it_was(tiny_trained: Any, figures: Callable[..., Figures]) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tiny_trained.folder.rglob("*") if path.is_file()}

    before = content()
    figures(f"run={tiny_trained.folder}")
    assert content() == before


def test_another_checkpoint_has_its_own_figures(
    cli: Callable[..., Any], tiny: list[str], figures: Callable[..., Figures]
) -> None:
    """The rate only harms here, so that best and last are two, and the last table is that of the best."""
    done = cli("train", *tiny, "optim=adam", "optim.lr=0.5", "trainer.val_every_n_steps=1", "++callbacks.samples=0",
               "trainer.max_steps=3", "++optim.schedule=constant", "++optim.warmup_steps=0")  # fmt: skip
    scores = [row["val/bits_per_byte"] for row in done.metrics]
    assert min(scores) < scores[-1]
    best, last = (figures(f"run={done.folder}", f"checkpoint={name}") for name in ("best", "last"))
    assert best == of_run(done)
    assert last["val"]["bits_per_byte"] == pytest.approx(scores[-1], rel=1e-6)
    assert min(scores) == best["val"]["bits_per_byte"]
    record = torch.load(done.folder / "checkpoints" / "best.ckpt", weights_only=True)["manyheads"]
    assert record["step"] == done.metrics[scores.index(min(scores))]["step"]


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_no_figure_moves_with_the_batch_size(
    batch_size: int, tiny_trained: Any, figures: Callable[..., Figures]
) -> None:
    """Guards against a mean of batch means, and against a batch that was dropped: the last is ragged, or alone."""
    found = figures(f"run={tiny_trained.folder}", f"task.batch_size={batch_size}")
    assert found == near(of_run(tiny_trained), 1e-7)
    for values in found.values():
        assert values["perplexity"] == pytest.approx(math.exp(values["loss"]), rel=1e-12)


OTHER = "\n".join(f"it was the {i} of his" for i in range(60)) + "\n"


@pytest.mark.parametrize(
    ("path", "splits"),
    [
        ("data.path=other.txt", ["test"]),
        ("data.path={test: other.txt}", ["test"]),
        ("data.path=whole/test.txt", ["test"]),
        ("data.path=whole/validation.txt", ["val"]),
        ("data.path=whole", ["val", "test"]),
        ("data.path={train: other.txt, test: other.txt}", ["test"]),
    ],
)
def test_a_file_of_ones_own_is_scored_whole_on_the_splits_that_are_there(
    path: str,
    splits: list[str],
    tiny_trained: Any,
    figures: Callable[..., Figures],
    cli: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Guards a refusal for want of a split, and a figure of the twentieth that training would have set aside."""
    (tmp_path / "whole").mkdir()
    for name in ("other.txt", "whole/test.txt", "whole/validation.txt"):
        (tmp_path / name).write_text(OTHER, encoding="utf-8")
    words = [f"run={tiny_trained.folder}", "data=text", path]
    found = figures(*words)
    assert list(found) == splits
    score = manyheads.load(tiny_trained.folder).score(OTHER)
    assert score.bytes == len(OTHER.encode())
    for values in found.values():
        assert values["loss"] == pytest.approx(score.loss, rel=1e-6)
        assert values["bits_per_byte"] == pytest.approx(score.bits_per_byte, rel=1e-6)
    said = cli("eval", *words).out
    assert "note: other data than the run was trained on" in said
    assert ("all of it as the test split" in said) == (path == "data.path=other.txt")
    header = next(line for line in said.splitlines() if re.fullmatch(r" +(validation|test)( +test)? *", line))
    assert header.split() == [{"val": "validation"}.get(name, name) for name in splits]


@pytest.mark.slow
def test_the_runs_own_data_is_known_wherever_it_stands(
    tiny_trained: Any, figures: Callable[..., Figures], cli: Callable[..., Any], corpus: Path, tmp_path: Path
) -> None:
    """The same content elsewhere gives the same figures; another one under the same name is told."""
    shutil.copytree(corpus, tmp_path / "moved")
    run = f"run={tiny_trained.folder}"
    assert figures(run, "data.path=moved") == of_run(tiny_trained)
    assert "trained on" not in cli("eval", run, "data.path=moved").out
    shutil.copytree(tiny_trained.folder, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(str(corpus), "moved"), encoding="utf-8")
    assert "trained on" not in cli("eval", "run=run").out
    with (tmp_path / "moved" / "test.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    said = " ".join(cli("eval", "run=run").out.split())
    assert "note: the data (moved (3 files)) is not what the run was trained on: its content or its splits" in said


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("tokenizer=character", "tokenizer: eval scores the weights of run="),
        ("resume=x", "resume=x: eval scores the weights of run="),
        ("init=x", "init=x: eval scores the weights of run="),
        ("stride=33", "stride=33: set a number from 1 to 32. The upper end is task.seq_len."),
        ("stride=0", "stride=0: set a number from 1 to 32."),
    ],
)
def test_a_setting_that_would_count_for_nothing_is_refused(
    word: str, says: str, tiny_trained: Any, cli: Callable[..., Any]
) -> None:
    done = cli("eval", f"run={tiny_trained.folder}", word)
    assert done.code == 1
    assert done.err.startswith(f"error: {says}")
    assert len(done.err.splitlines()) == 1


def test_a_checkpoint_alone_has_the_figures_of_its_run(
    tiny_trained: Any, figures: Callable[..., Figures], tmp_path: Path
) -> None:
    shutil.copy(tiny_trained.folder / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    assert figures("run=alone.ckpt") == of_run(tiny_trained)


def test_a_folder_with_spaces_in_its_name(tiny_trained: Any, figures: Callable[..., Figures], tmp_path: Path) -> None:
    shutil.copytree(tiny_trained.folder, tmp_path / "my runs" / "the first")
    assert figures("run='my runs/the first'") == of_run(tiny_trained)


def test_figures_on_stdout_stand_there_alone(tiny_trained: Any, cli: Callable[..., Any]) -> None:
    """The table and the notes go to stderr then."""
    done = cli("eval", f"run={tiny_trained.folder}", "to=-")
    assert json.loads(done.out) == of_run(tiny_trained)
    assert "bits per byte" in done.err


@pytest.mark.parametrize("stride", [8, 32])
def test_a_stride_gives_each_label_more_context(
    stride: int, tiny_trained: Any, figures: Callable[..., Figures], texts: dict[str, list[str]]
) -> None:
    """Held to `score`, which makes its windows by itself; a stride as long as the rows changes nothing."""
    found = figures(f"run={tiny_trained.folder}", f"stride={stride}")
    score = manyheads.load(tiny_trained.folder).score(texts["test"], stride=stride)
    assert found["test"]["loss"] == pytest.approx(score.loss, rel=1e-6)
    assert found["test"]["bits_per_byte"] == pytest.approx(score.bits_per_byte, rel=1e-6)
    assert (found == of_run(tiny_trained)) == (stride == 32)


def test_scoring_the_texts_of_the_test_split_gives_the_test_figures(
    tiny_trained: Any, texts: dict[str, list[str]]
) -> None:
    lm = manyheads.load(tiny_trained.folder)
    for split, printed in (("validation", "val"), ("test", "test")):
        score, figures = lm.score(texts[split]), tiny_trained.results[printed]
        assert score.bytes == sum(len(text.encode()) for text in texts[split])
        assert score.tokens == score.bytes + len(texts[split])
        assert score.loss == pytest.approx(figures["loss"], rel=1e-6)
        assert score.perplexity == pytest.approx(figures["perplexity"], rel=1e-6)
        assert score.bits_per_byte == pytest.approx(figures["bits_per_byte"], rel=1e-6)


@pytest.mark.parametrize("seq_len", [1, 31, 4096])
@pytest.mark.parametrize("words", [[], ["data=text", "tokenizer=bpe", "tokenizer.vocab_size=300"]])
def test_every_byte_of_a_split_is_counted_once(
    seq_len: int, words: list[str], tiny: list[str], texts: dict[str, list[str]], tmp_path: Path
) -> None:
    """Whatever the length of rows and the batch size: over the batches themselves, for rows and for joined lines."""
    from manyheads.build import build

    raw = {split: "\n".join(rows) + "\n" if words else "".join(rows) for split, rows in texts.items()}
    for split, text in raw.items():
        (tmp_path / f"{split}.txt").write_text(text, encoding="utf-8")
    cfg, _ = compose(
        "train", [*tiny, *words, *([f"data.path={tmp_path}"] if words else []), f"task.seq_len={seq_len}"], CONF_DIR
    )
    source = build(cfg.data, "data")
    tokenizer = build(cfg.tokenizer, "tokenizer", source=source)
    for batch_size in (1, 3, 50):
        cfg.task.batch_size = batch_size
        task = build(cfg.task, "task", source=source, tokenizer=tokenizer, seed=1)
        sizes = task.describe()
        for split, loader in (("validation", task.val_dataloader()), ("test", task.test_dataloader())):
            batches = list(loader)
            assert sum(int(batch["num_bytes"].sum()) for batch in batches) == len(raw[split].encode())
            assert sum(int((batch["labels"] >= 0).sum()) for batch in batches) == sizes[split]["tokens"]
            assert sizes[split]["bytes"] == len(raw[split].encode())
            assert all(batch["input_ids"].shape[1] <= seq_len for batch in batches)


def test_where_the_figures_go_is_checked(tiny_trained: Any, cli: Callable[..., Any]) -> None:
    done = cli("eval", f"run={tiny_trained.folder}", "to=nowhere/figures.json")
    assert done.code == 1
    assert done.err.startswith("error: to=nowhere/figures.json: there is no folder nowhere.")
