"""Guards a run folder that a SIGKILL leaves torn: killed at any moment, a run goes on to the end that it would have had.

$MANYHEADS_KILLS says how many moments are tried: 6 without it.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

KILLS = int(os.environ.get("MANYHEADS_KILLS", "6"))

RUNNER = '''
"""Trains as the command line does; notes each moment in a file, and is killed at the one of a given number."""
import io
import os
import signal
import sys
from pathlib import Path

import torch

from manyheads.cli import main
from manyheads.lm import LM

last, notes, count = int(sys.argv[1]), open(sys.argv[2], "w"), 0


def moment(name):
    global count
    count += 1
    notes.write(name + "\\n")
    notes.flush()
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)


def watched(function, name):
    def call(*args, **options):
        where = Path(args[-1]).name
        where = "unfinished" if where.startswith(".") else where
        moment(f"before {name} {where}")
        result = function(*args, **options)
        moment(f"after {name} {where}")
        return result

    return call


def save(content, file, plain=torch.save):
    moment("before save")
    whole = io.BytesIO()
    plain(content, whole)
    data = whole.getvalue()
    file.write(data[: len(data) // 2])
    file.flush()
    moment("half of save")
    file.write(data[len(data) // 2 :])


def step(name):
    plain = getattr(LM, name)

    def call(self, batch, batch_idx):
        moment(name)
        return plain(self, batch, batch_idx)

    setattr(LM, name, call)


os.replace, os.link, torch.save = watched(os.replace, "rename"), watched(os.link, "link"), save
for name in ("training_step", "validation_step", "test_step"):
    step(name)
sys.exit(main(sys.argv[3:]))
'''

MORE = [
    "trainer.max_steps=8", "trainer.val_every_n_steps=3", "trainer.log_every_n_steps=1", "callbacks.save_every_n_steps=1",
    "callbacks.save_best=2", "callbacks.keep=2", "++callbacks.samples=0", "model.dropout=0.1",
]  # fmt: skip


def run(where: Path, words: Sequence[str], moment: int) -> tuple[int, list[str]]:
    """The exit code of a real process that is killed at this moment, 0 for none; and the moments until then."""
    where.mkdir()
    (where / "runner.py").write_text(RUNNER)
    command = [sys.executable, "runner.py", str(moment), "moments.txt", "train", *words]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=240)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, (where / "moments.txt").read_text().splitlines()


def moments(names: Sequence[str], kills: int) -> list[int]:
    """So many numbers of moments, from 1: a third of them spread over the whole run, over its saves, and over the renames
    and links of checkpoints."""
    numbered = list(enumerate(names, start=1))
    saves = [at for at, name in numbered if name == "half of save"]
    renames = [at for at, name in numbered if name.endswith(".ckpt") or " link " in name]
    third = kills // 3
    thirds = (([at for at, _ in numbered], kills - 2 * third), (saves, third), (renames, third))
    return sorted({among[int((i + 0.5) * len(among) / count)] for among, count in thirds for i in range(count)})


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [
            {name: value for name, value in row.items() if not name.startswith("perf/")} for row in csv.DictReader(file)
        ]


def check_whole(folder: Path) -> None:
    """Whatever has the name of a checkpoint is one."""
    for file in (folder / "checkpoints").glob("*.ckpt"):
        assert torch.load(file, weights_only=True)["state_dict"], file.name


def assert_same(ours: Path, whole: Path) -> None:
    names = sorted(file.name for file in (whole / "checkpoints").iterdir())
    assert names == ["best-2.ckpt", "best.ckpt", "last.ckpt", "step_00000007.ckpt", "step_00000008.ckpt"]
    for name in names:
        one, other = (torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (ours, whole))
        assert one["global_step"] == other["global_step"], name
        assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items()), name
    assert rows(ours) == rows(whole)
    results = [json.loads((folder / "results.json").read_text()) for folder in (ours, whole)]
    for part in ("val", "test"):
        assert results[0][part] == results[1][part]
    assert [each["run"]["status"] for each in results] == ["done", "done"]
    assert not list(ours.rglob(".*.writing"))


@pytest.mark.slow
@pytest.mark.timeout(120 + 60 * KILLS)
def test_a_run_that_is_killed_goes_on_to_the_same_end(tiny: list[str], tmp_path: Path, cli: Callable[..., Any]) -> None:
    words = [*tiny, *MORE]
    code, names = run(tmp_path / "whole", words, 0)
    assert code == 0
    (whole,) = (tmp_path / "whole" / "outputs" / "runs").iterdir()
    tried = moments(names, KILLS)
    assert any(names[at - 1] == "half of save" for at in tried)
    assert any(".ckpt" in names[at - 1] for at in tried)
    resumed = 0
    for at in tried:
        where = f"moment {at} of {len(names)}, {names[at - 1]}"
        code, until = run(tmp_path / str(at), words, at)
        assert code == -signal.SIGKILL, where
        assert until == names[:at], "the moments of a run are not always the same"
        folders = list((tmp_path / str(at) / "outputs" / "runs").glob("*/"))
        last = [folder for folder in folders if (folder / "checkpoints" / "last.ckpt").exists()]
        if not last:
            assert "after rename last.ckpt" not in until, where
            continue
        check_whole(last[0])
        if json.loads((last[0] / "results.json").read_text())["run"]["status"] != "done":
            done = cli("train", f"resume={last[0]}")
            assert done.code == 0, (where, done.err)
            resumed += 1
        assert_same(last[0], whole)
    assert resumed >= len(tried) // 2


def the_last(name: str, names: Sequence[str]) -> int:
    """The number of the last moment of that name, from 1."""
    return len(names) - names[::-1].index(name)


@pytest.mark.slow
def test_no_run_is_done_before_all_is_there(tiny: list[str], tmp_path: Path, cli: Callable[..., Any]) -> None:
    """Killed while the export is written, before it has its name, and between that and the word that the run is done: the
    run can be resumed, and ends whole."""
    words = [*tiny, "++callbacks.samples=0", "name=n"]
    _, names = run(tmp_path / "whole", words, 0)
    (whole,) = (tmp_path / "whole" / "outputs" / "runs").iterdir()
    moments = ("before rename export", "after rename export", "before rename results.json", "after rename results.json")
    for at in [the_last(name, names) for name in moments]:
        code, _ = run(tmp_path / str(at), words, at)
        assert code == -signal.SIGKILL
        (folder,) = (tmp_path / str(at) / "outputs" / "runs").iterdir()
        if status(folder) != "done":
            done = cli("train", f"resume={folder}")
            assert (done.code, done.err) == (0, "")
        assert_ended_alike(folder, whole)


def status(folder: Path) -> str:
    return json.loads((folder / "results.json").read_text())["run"]["status"]


def assert_ended_alike(ours: Path, whole: Path) -> None:
    for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md"):
        assert (ours / "export" / name).read_bytes() == (whole / "export" / name).read_bytes(), name
    assert not (ours / "export.tmp").exists()
    assert rows(ours) == rows(whole)
    assert status(ours) == "done"
