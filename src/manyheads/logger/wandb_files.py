"""What W&B's own files of a run hold, which after a kill is not all that was logged: W&B writes in blocks, or every 15 seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Known = dict[int, set[str]]
"""The names that W&B has at each step."""


def names_in_files(files: Iterable[Path]) -> Known:
    """What W&B's reader finds in .wandb files, as far as each is whole."""
    known: Known = {}
    for file in files:
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        for record in map(json.loads, done.stdout.splitlines()):
            if record["type"] == "history":
                row = record["history"]["item"]
                # what is no number is spread over keys of its own, of which one is `<name>._type`
                known.setdefault(row["_step"], set()).update(name.removesuffix("._type") for name in row)
    return known


def lacking(known: Known, step: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a row that is not known yet."""
    there = known.get(step, set())
    return {name: value for name, value in row.items() if name not in there}


def refusal(logs: Iterable[Path]) -> str | None:
    """What made W&B stop uploading for good, by its own logs, which alone are told."""
    for log in logs:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if "fatal error" in line:
                return line.rpartition('"msg":"')[2].rstrip('"}').partition(" url=")[0]
    return None
