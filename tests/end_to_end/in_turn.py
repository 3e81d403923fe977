"""Command lines one after the other on the same two ranks, since to start two processes takes longer than a small run.

python in_turn.py JOBS        one rank; the environment says which
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

SECONDS = 240
"""The limit of a rank with all its runs."""


def on_two_ranks(jobs: Mapping[Path, Sequence[str]]) -> None:
    """Runs each command line in its folder, which is made. Raises AssertionError with what the ranks said when one fails."""
    for place in jobs:
        place.mkdir()
    todo = [
        [str(place), port, list(words)] for (place, words), port in zip(jobs.items(), _ports(len(jobs)), strict=True)
    ]
    file = next(iter(jobs)).parent / "jobs.json"
    file.write_text(json.dumps(todo), encoding="utf-8")
    ranks = [_started(rank, file) for rank in range(2)]
    try:
        said = [rank.communicate(timeout=SECONDS)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)


def _started(rank: int, file: Path) -> subprocess.Popen[str]:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1"}
    return subprocess.Popen(
        [sys.executable, __file__, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {name: str(value) for name, value in place.items()} | {"PYTHONWARNINGS": "ignore"},
    )


def _ports(count: int) -> list[int]:
    """Free ones: each run's group has its own, so that none waits for the end of the one before."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def rank_main(file: Path) -> int:
    """This rank's part of all runs, up to the first that fails; the exit code."""
    from manyheads.cli import main

    environment = dict(os.environ)
    for place, port, words in json.loads(file.read_text(encoding="utf-8")):
        os.environ.update(environment, MASTER_PORT=str(port))  # Lightning takes WORLD_SIZE away at the end of a fit
        os.chdir(place)
        if code := main(words):
            sys.stdout.write(f"in {place}: {' '.join(words)}\n")
            return code
    return 0


if __name__ == "__main__":
    raise SystemExit(rank_main(Path(sys.argv[1])))
