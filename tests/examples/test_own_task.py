"""Guards: the example of a task of one's own that no longer runs as its README says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_task"


def test_the_rows_are_what_they_say() -> None:
    """A full stop, an exclamation mark or a question mark before a capital or the end ends a sentence; one of Dr. does not."""
    found = []
    for split in ("train", "validation", "test"):
        for line in (EXAMPLE / "rows" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            ends = re.findall(r"[.!?](?= [A-Z]|$)", row["text"].replace("Dr.", "Dr"))
            assert len(ends) == row["sentences"], row
            found.append(row["sentences"])
    assert len(found) == 500
    assert set(found) == {1, 2, 3, 4, 5}


def run(*words: str, folder: Path) -> str:
    path = os.pathsep.join([str(ROOT / "src"), "."])
    done = subprocess.run(
        [sys.executable, "-m", "manyheads", *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_trains_and_answers_as_its_readme_says(tmp_path: Path) -> None:
    folder = tmp_path / "own_task"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("outputs", "__pycache__"))
    command = re.search(
        r"^PYTHONPATH=\. manyheads (train .*)$", (EXAMPLE / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert command is not None
    words = [word.strip("\"'") for word in command[1].split()]
    run(*(word for word in words if not word.startswith("trainer.")), "debug=fast", folder=folder)
    (made,) = (folder / "outputs" / "runs").iterdir()
    assert set(json.loads((made / "results.json").read_text("utf-8"))["test"]) == {"loss", "accuracy", "count_error"}
    line = json.loads(
        run("predict", "allow=[sentences]", f"run={made}", 'input.text="It rains. We stay in."', folder=folder)
    )
    assert line["output"] in range(1, 6)
    assert list(line["probabilities"]) == ["1", "2", "3", "4", "5"]
