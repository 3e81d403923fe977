"""Guards a run that is stopped and goes on: every number, text and tensor is that of the run that was never stopped."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.lm import LM

SIGNALS = ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138))
COMPARED = ("state_dict", "trained_weights", "optimizer_states", "lr_schedulers", "callbacks", "Generation", "global_step",
            "epoch")  # fmt: skip
"""All of a checkpoint that the next step depends on: "callbacks" has the states of the random generators."""
MARGIN = "    │ "

BASE = [
    "tokenizer=byte", "model.dim=16", "model.num_layers=1", "model.num_heads=2", "model.dropout=0.1", "task.seq_len=40",
    "++task.pack=false", "task.batch_size=4", "++task.eval_batch_size=8", "trainer.log_every_n_steps=1", "logger=csv",
    "++callbacks.sample_tokens=8", "++optim.warmup_steps=3",
]  # fmt: skip
WAYS = {
    "muon and ema": ["optim=muon", "callbacks.averaging=ema", "callbacks.ema_decay=0.9", "trainer.max_steps=14"],
    # no validation improves by so much: the third after the first ends the run
    "adamw and patience": ["optim=adamw", "callbacks.patience=3", "callbacks.min_delta=100", "trainer.max_steps=20"],
}
COURSES = {
    1: ["trainer.val_every_n_steps=4"],
    3: ["trainer.val_every_n_steps=3", "trainer.accumulate_grad_batches=3"],
}
STOPS = {1: (1, 5, 8, 13), 3: (1, 4, 9, 11)}
"""By accumulation: the first step, an epoch's end, a validation's step, and one in mid-epoch. An epoch has five batches."""


@pytest.fixture
def data(tmp_path: Path) -> dict[str, list[str]]:
    """The words of each kind of data. All have 18 training rows of unequal lengths."""
    texts = [f"{'abcdefghijkl'[: i % 12 + 1]} {i * i} text" for i in range(18)]
    parts = {"whole": texts, "first": texts[:11], "second": texts[11:], "scored": ["some text", "and another 12"]}
    for name, rows in parts.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))

    def path(name: str) -> str:
        return f"{{train: {name}.jsonl, validation: scored.jsonl, test: scored.jsonl}}"

    (tmp_path / "more.jsonl").write_text('{"text": "a third"}\n')
    own = path("second").replace("scored", "more")
    return {
        "rows": ["data=json", f"data.path={path('whole')}"],
        "stream": ["data=json", f"data.path={path('whole')}", "data.streaming=true", "data.shuffle_mb=0.0001"],
        "mixture": [
            "data=mixture", "+data@data.sources.one=json", f"data.sources.one.path={path('first')}",
            "+data@data.sources.two=json", f"data.sources.two.path={own}", "data.weights={one:0.7,two:0.3}",
        ],
    }  # fmt: skip


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a signal come while an optimizer step is made, by its first micro-batch, once."""
    plain, due = LM.training_step, dict[int, int]()

    def training_step(self: LM, batch: Any, batch_idx: int) -> Any:
        if signum := due.pop(self.trainer.global_step + 1, None):
            os.kill(os.getpid(), signum)
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(LM, "training_step", training_step)
    return lambda step, signum: due.update({step: signum})


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a checkpoint by their place."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from flat(part, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from flat(part, f"{name}/{number}")
    else:
        yield name, value


def leaves(folder: Path) -> dict[str, Any]:
    """What is compared of the last checkpoint."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    record = checkpoint["manyheads"]
    kept = {name: checkpoint[name] for name in COMPARED if name in checkpoint}
    kept |= {name: record[name] for name in ("step", "tokens_seen", "train_totals", "tokenizer")}
    return dict(flat(kept))


def rows_of(done: Any) -> list[dict[str, float]]:
    """metrics.csv without what a clock says."""
    return [{name: value for name, value in row.items() if not name.startswith("perf/")} for row in done.metrics]


def texts_of(folder: Path) -> list[str]:
    """The scores and the samples of each validation, as train.log has them."""
    lines = (folder / "train.log").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(MARGIN) or " validation  loss " in line]


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name


def assert_same(ours: Any, theirs: Any) -> None:
    """Two runs are equal, to the bit."""
    assert rows_of(ours) == rows_of(theirs)
    assert texts_of(ours.folder) == texts_of(theirs.folder)
    assert any(line.startswith(MARGIN) for line in texts_of(ours.folder))
    assert_equal(leaves(ours.folder), leaves(theirs.folder))
    for part in ("val", "test", "samples"):
        assert ours.results[part] == theirs.results[part]


FAST = {("rows", 3, 0, "muon and ema")}
GRID = [
    pytest.param(*case, marks=() if case in FAST else pytest.mark.slow)
    for case in itertools.product(("rows", "stream", "mixture"), (1, 3), (0, 2), WAYS)
]


@pytest.mark.parametrize(("kind", "accumulate", "workers", "way"), GRID)
def test_a_run_stopped_again_and_again_is_the_run_that_was_never_stopped(
    kind: str,
    accumulate: int,
    workers: int,
    way: str,
    data: dict[str, list[str]],
    stop: Callable[..., None],
    cli: Callable[..., Any],
) -> None:
    """Dropout is on. A stream has one worker at most."""
    workers = min(workers, 1) if kind == "stream" else workers
    words = [*BASE, *data[kind], *WAYS[way], *COURSES[accumulate], f"++task.num_workers={workers}"]
    whole = cli("train", *words)
    assert whole.code == 0, whole.err
    first = None
    for step, (signum, code) in zip(STOPS[accumulate], itertools.cycle(SIGNALS), strict=False):
        stop(step, signum)
        stopped = cli("train", *words) if first is None else cli("train", f"resume={first.folder}")
        first = first or stopped
        assert stopped.code == code, stopped.err
        assert (first.results["run"]["status"], first.results["run"]["steps"]) == ("interrupted", step)
    assert first is not None
    resumed = cli("train", f"resume={first.folder}")
    assert resumed.code == 0, resumed.err
    assert_same(first, whole)
    # the run was long enough to be stopped, and patience ended it where it should
    steps = 14 if "ema" in way else {1: 16, 3: 12}[accumulate]
    assert first.results["run"]["steps"] == steps
    assert [int(row["step"]) for row in first.metrics] == list(range(1, steps + 1))


@pytest.mark.slow
def test_a_validation_that_a_kill_cut_off_is_made_up_for(
    data: dict[str, list[str]], stop: Callable[..., None], cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a hole in the log, and a best checkpoint that nobody judged: a cluster tells a run to stop, and kills it in
    the validation that is due. The second of three is cut off; patience counts all of them."""

    class Killed(BaseException):
        pass

    words = [*BASE, *data["rows"], *WAYS["adamw and patience"], *COURSES[1]]
    whole = cli("train", *words)
    plain = LM.validation_step

    def validation_step(self: LM, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step == 8:
            raise Killed
        plain(self, batch, batch_idx)

    monkeypatch.setattr(LM, "validation_step", validation_step)
    stop(8, signal.SIGTERM)
    killed = cli("train", *words)
    monkeypatch.setattr(LM, "validation_step", plain)
    assert killed.code == 1
    assert torch.load(killed.folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 8
    assert "val/loss" not in killed.metrics[-1]
    resumed = cli("train", f"resume={killed.folder}")
    assert resumed.code == 0, resumed.err
    assert_same(killed, whole)


@pytest.mark.slow
def test_a_time_limit_is_a_stop_too(data: dict[str, list[str]], cli: Callable[..., Any]) -> None:
    """With rates that no clock has a say in. The limit's own last validation stands in the log besides."""
    words = [*BASE, *data["rows"], "++optim.schedule=constant", "trainer.max_steps=40", *COURSES[1]]
    whole = cli("train", *words)
    part = cli("train", *words, "++trainer.max_minutes=0.001")
    assert part.code == 0, part.err
    assert 1 <= part.results["run"]["steps"] < 40
    resumed = cli("train", f"resume={part.folder}", "trainer.max_minutes=null")
    assert resumed.code == 0, resumed.err
    assert "changed: trainer.max_minutes 0.001 -> null" in resumed.out.splitlines()
    ours, theirs = [
        [{name: value for name, value in row.items() if name.startswith(("train/", "optim/"))} for row in done.metrics]
        for done in (part, whole)
    ]
    assert len(ours) == 40
    assert ours == theirs
    assert_equal(*(without_best(leaves(done.folder)) for done in (part, whole)))


def without_best(found: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds but for the lists of the best ones and of samples, in which one more validation stands."""
    lists = ("/callbacks/RunCheckpoint", "/callbacks/Samples/scores/")
    return {name: value for name, value in found.items() if not name.startswith(lists)}


@pytest.mark.slow
def test_the_same_seed_is_the_same_run_with_any_number_of_workers(
    data: dict[str, list[str]], cli: Callable[..., Any]
) -> None:
    words = [*BASE, *data["rows"], "trainer.max_steps=8", *COURSES[1]]
    first = cli("train", *words)
    for more in ("++task.num_workers=0", "++task.num_workers=2"):
        again = cli("train", *words, more)
        assert again.code == 0, again.err
        assert_same(again, first)
    other = cli("train", *words, "seed=2")
    assert rows_of(other)[0]["train/loss"] != rows_of(first)[0]["train/loss"]


# what may change


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The labels of each row, in the order in which they are trained on."""
    plain, rows = LM.training_step, list[tuple[int, ...]]()

    def training_step(self: LM, batch: Any, batch_idx: int) -> Any:
        rows.extend(tuple(label for label in row if label >= 0) for row in batch["labels"].tolist())
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(LM, "training_step", training_step)
    return rows


@pytest.mark.parametrize("batch_size", [pytest.param(3, marks=pytest.mark.slow), 6])
def test_another_batch_size_goes_on_with_the_same_order_of_rows(
    batch_size: int, data: dict[str, list[str]], seen: list[Any], stop: Callable[..., None], cli: Callable[..., Any]
) -> None:
    """None twice and none left out, in the epoch that was cut and in the next one, whose rows stand together by the new size."""
    words = [*BASE, *data["rows"], "trainer.max_steps=null", "trainer.max_epochs=2"]
    assert cli("train", *words).code == 0
    whole = seen[:]
    assert sorted(whole[:18]) == sorted(whole[18:]) != whole[:18]
    assert len(set(whole)) == 18
    seen.clear()
    stop(2, signal.SIGTERM)
    stopped = cli("train", *words)
    assert len(seen) == 8
    resumed = cli("train", f"resume={stopped.folder}", f"task.batch_size={batch_size}")
    assert resumed.code == 0, resumed.err
    assert f"changed: task.batch_size 4 -> {batch_size}" in resumed.out.splitlines()
    assert seen[:18] == whole[:18]
    assert sorted(seen[18:]) == sorted(whole[18:])


AFTER = [(2, 2, 7), (2, 3, 6), (5, 2, 8), (6, 3, 8)]
"""The step after which a run was stopped, the batches of a step from there on, and the steps of the whole run, by hand."""


@pytest.mark.parametrize(
    ("step", "batches", "steps"), [AFTER[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in AFTER[1:])]
)
def test_another_accumulation_goes_on_with_the_same_order_of_rows(
    step: int,
    batches: int,
    steps: int,
    data: dict[str, list[str]],
    seen: list[Any],
    stop: Callable[..., None],
    cli: Callable[..., Any],
) -> None:
    """An epoch is five batches. Steps end where they would in an epoch that had been begun so: with two batches each after
    the second, the fourth and the last one, with three after the third and the last. Guards a run that ends, and whose
    rate does, after the steps that both epochs would have had by the new number."""
    words = [*BASE, *data["rows"], "trainer.max_steps=null", "trainer.max_epochs=2"]
    assert cli("train", *words).code == 0
    whole = seen[:]
    seen.clear()
    stop(step, signal.SIGTERM)
    stopped = cli("train", *words)
    resumed = cli("train", f"resume={stopped.folder}", f"trainer.accumulate_grad_batches={batches}")
    assert resumed.code == 0, resumed.err
    assert f"changed: trainer.accumulate_grad_batches 1 -> {batches}" in resumed.out.splitlines()
    assert seen[:18] == whole[:18]
    assert sorted(seen[18:]) == sorted(whole[18:])
    assert f"step {steps}/{steps}  100%" in resumed.out
    assert stopped.results["run"]["steps"] == steps
    assert stopped.results["run"]["tokens_seen"] == sum(map(len, whole))


@pytest.mark.slow
def test_rows_may_become_shorter_but_not_longer_than_learned_positions(
    data: dict[str, list[str]], seen: list[Any], stop: Callable[..., None], cli: Callable[..., Any]
) -> None:
    """What is refused leaves the folder as it was."""
    words = [*BASE, *data["rows"], "model.positions=learned", "model.max_positions=40", "trainer.max_steps=5"]
    stop(2, signal.SIGTERM)
    stopped = cli("train", *words)
    before = (stopped.folder / "config.yaml").read_bytes()
    refused = cli("train", f"resume={stopped.folder}", "task.seq_len=41")
    assert (refused.code, refused.err) == (
        1,
        "error: task.seq_len=41 is longer than the network's positions. Set task.seq_len=40 or less: a resumed run keeps "
        "model.max_positions=40.\n",
    )
    assert (stopped.folder / "config.yaml").read_bytes() == before
    seen.clear()
    resumed = cli("train", f"resume={stopped.folder}", "task.seq_len=10")
    assert (resumed.code, resumed.err) == (0, "")
    assert stopped.results["run"]["steps"] == 5
    assert max(map(len, seen)) == 10


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["csv", "wandb"])
def test_a_finished_run_that_goes_on_has_the_scores_on_the_test_split_at_its_end(
    logger: str, data: dict[str, list[str]], cli: Callable[..., Any]
) -> None:
    """Its table is that of one that was never finished before; those of its first end are in it no more."""
    words = [*BASE, *data["rows"], "optim.schedule=constant", "trainer.val_every_n_steps=2", f"logger={logger}"]
    done = cli("train", *words, "trainer.max_steps=4")
    assert "test/loss" in done.metrics[-1]
    again = cli("train", f"resume={done.folder}", "trainer.max_steps=6")
    assert (again.code, again.err) == (0, "")
    whole = cli("train", *words, "trainer.max_steps=6")
    assert rows_of(done) == rows_of(whole)
    tables = [(each.folder / "metrics.csv").read_text().partition("\n")[0] for each in (done, whole)]
    assert tables[0] == tables[1]
    assert [row["step"] for row in done.metrics if "test/loss" in row] == [6.0]


@pytest.mark.parametrize(
    "change",
    [
        "task.seq_len=20",
        *(pytest.param(word, marks=pytest.mark.slow) for word in ("seed=2", "data.path={train: first.jsonl}")),
    ],
)
def test_an_epoch_of_other_rows_begins_anew_and_is_told(
    change: str, data: dict[str, list[str]], seen: list[Any], stop: Callable[..., None], cli: Callable[..., Any]
) -> None:
    """Guards a place taken among rows that it is no place of: some would be left out, and nobody would know."""
    kept = ", validation: scored.jsonl, test: scored.jsonl}"
    change = change.replace("}", kept)
    words = [*BASE, *data["rows"], "trainer.max_steps=null", "trainer.max_epochs=2"]
    stop(2, signal.SIGTERM)
    stopped = cli("train", *words)
    before = seen[:]
    seen.clear()
    resumed = cli("train", f"resume={stopped.folder}", change)
    assert resumed.code == 0, resumed.err
    assert "The training rows or their order are others than before: this epoch begins anew with them." in resumed.out
    # this epoch whole, and the next
    assert len(seen) % 2 == 0
    half = len(seen) // 2
    assert sorted(seen[:half]) == sorted(seen[half:]) != seen[:half]
    assert before[:8] != seen[:8]


def test_what_is_taken_is_said_and_what_is_not_taken_is_refused(tiny_trained: Any, cli: Callable[..., Any]) -> None:
    """By name, with both values; nothing is said of what stays."""
    run = Path("run").absolute()
    shutil.copytree(tiny_trained.folder, run)
    said = cli("train", "resume=run", "trainer.max_steps=7")
    assert said.code == 0, said.err
    assert [line for line in said.out.splitlines() if line.startswith("changed:")] == [
        "changed: trainer.max_steps 6 -> 7"
    ]
    assert "begins anew" not in said.out
    more = ["trainer.max_steps=8", "optim.lr=0.25", "trainer.log_every_n_steps=1", "tags=[a]"]
    (line,) = [line for line in cli("train", "resume=run", *more).out.splitlines() if line.startswith("changed:")]
    assert sorted(line.removeprefix("changed: ").split(", ")) == sorted(
        ["optim.lr 0.02 -> 0.25", "tags [] -> ['a']", "trainer.log_every_n_steps 2 -> 1", "trainer.max_steps 7 -> 8"]
    )
    before = (run / "config.yaml").read_bytes()
    for word in ("model.dim=32", "++head.z_loss=0.1", "tokenizer=character", "optim=adamw"):
        refused = cli("train", "resume=run", "trainer.max_steps=9", word)
        assert refused.code == 1
        key = {"tokenizer": "tokenizer._target_", "optim": "optim._target_"}.get(word.partition("=")[0])
        assert (key or word.lstrip("+").partition("=")[0]) in refused.err.partition(":  ")[0]
        assert "a resumed run keeps its network, head, tokenizer and kind of optimizer" in refused.err
    assert (run / "config.yaml").read_bytes() == before
