"""A run on several devices of this machine: one process for each, watched by the one that was started.

    python -m manyheads.launch < JOB        one rank; the environment says which

A rank gets its config through its standard input, secrets included, so that nothing of it is on a command line or a disk,
and all ranks have the same. The processes are not Lightning's, which runs the command line again: within a sweep that
would be the whole sweep. What torchrun or Slurm has started does not come here.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf

from manyheads.errors import EXIT_DONE, EXIT_USER, SIGNAL_BASE, Interrupted, OtherRankError, UserError, explain
from manyheads.run.secrets import mask_said

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
GRACE_SECONDS = 8.0
"""How long the other ranks have to end by themselves once one has failed."""

_POLL_SECONDS = 0.05
_KEPT_LINES = 200


class RankError(RuntimeError):
    """A rank ended with a fault of the program; the text is its traceback."""


class Outcome(NamedTuple):
    """How a rank ended, as it says itself: done, user (an error that the user can mend), interrupted, other (another rank
    failed), fault; killed where it could not say anything."""

    kind: str
    text: str = ""
    signum: int = 0
    value: Any = None


def run_ranks(place: str, count: int, config: DictConfig, more: Mapping[str, Any]) -> Any:
    """Calls `place` ("module:function") with the config and `more`, which JSON can hold, in `count` processes.

    Returns what the function returned on the first rank, as JSON gives it back. Raises UserError, Interrupted or RankError
    as the first rank to fail did. Signals go on to the ranks, which agree on the step at which they stop.
    """
    with tempfile.TemporaryDirectory(prefix="manyheads-") as folder:
        job = {"place": place, "config": OmegaConf.to_yaml(config), "more": dict(more), "argv": sys.argv[:1]}
        text = json.dumps({**job, "outcomes": folder})
        port = _free_port()
        ranks = [_Rank(number, count, port, text) for number in range(count)]
        with _passing_on_signals(ranks):
            failed = _wait(ranks)
        outcomes = [_outcome(Path(folder), rank) for rank in ranks]
    if failed is None:
        return outcomes[0].value
    raise _error(outcomes, ranks, failed)


def asked(config: DictConfig) -> int:
    """How many devices a config names; 1 where torch must be asked, which takes seconds to import."""
    if (OmegaConf.select(config, "trainer.num_nodes") or 1) != 1:
        return 1  # refused later
    devices = OmegaConf.select(config, "trainer.devices")
    devices = len(devices) if isinstance(devices, ListConfig) else devices
    return devices if isinstance(devices, int) and not isinstance(devices, bool) and "RANK" not in os.environ else 1


def train_ranks(
    count: int, config: DictConfig, folder: Path | None, choices: Mapping[str, str], argv: Sequence[str]
) -> Any:
    """`manyheads.train` on `count` devices."""
    more = {"folder": folder and str(folder), "choices": dict(choices), "argv": list(argv)}
    return run_ranks("manyheads.train:train_rank", count, config, more)


class _Rank:
    """One process. What another than the first writes is kept back, and shown only when it fails."""

    def __init__(self, number: int, count: int, port: int, job: str) -> None:
        self.number = number
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        environment = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        output = None if number == 0 else subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-m", "manyheads.launch"],
            env=os.environ | {name: str(value) for name, value in environment.items()},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output and subprocess.STDOUT,
            process_group=0,  # a Ctrl-C reaches this process alone, which passes it on
            text=True,
        )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(job + "\n")
            self.process.stdin.flush()  # it stays open: its end tells the rank that nobody watches any more
        if self.process.stdout is not None:
            self._reader = threading.Thread(target=self.lines.extend, args=(self.process.stdout,), daemon=True)
            self._reader.start()

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Sends a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signum)

    def close(self) -> None:
        """Waits for its end and the end of what it wrote."""
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if self.process.stdout is not None:
            self._reader.join(1.0)
            if not self._reader.is_alive():  # a grandchild may hold the other end
                self.process.stdout.close()


def _wait(ranks: Sequence[_Rank]) -> _Rank | None:
    """Waits for all ranks; gives the first that failed. The others are killed when they do not end soon after it."""
    failed: _Rank | None = None
    deadline = float("inf")
    try:
        while None in (codes := [rank.process.poll() for rank in ranks]):
            if failed is None and any(codes):
                failed = next(rank for rank, code in zip(ranks, codes, strict=True) if code)
                if failed.process.returncode not in [SIGNAL_BASE + number for number in SIGNALS]:
                    deadline = time.monotonic() + GRACE_SECONDS
            if time.monotonic() > deadline:
                _kill(ranks)
            time.sleep(_POLL_SECONDS)
    finally:
        _kill(ranks)
        for rank in ranks:
            rank.close()
    return failed or next((rank for rank in ranks if rank.process.returncode != EXIT_DONE), None)


def _kill(ranks: Sequence[_Rank], signum: int = signal.SIGKILL) -> None:
    for rank in ranks:
        rank.kill(signum)


@contextlib.contextmanager
def _passing_on_signals(ranks: Sequence[_Rank]) -> Iterator[None]:
    """The first signal goes to the first rank, which tells the others; the second to all, which leave at once; a third
    ends them."""
    count = 0

    def pass_on(signum: int, frame: Any) -> None:
        nonlocal count
        count += 1
        _kill(ranks if count > 1 else ranks[:1], signum if count < 3 else signal.SIGKILL)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _outcome(folder: Path, rank: _Rank) -> Outcome:
    file = folder / f"{rank.number}.json"
    if file.is_file():
        return Outcome(**json.loads(file.read_text(encoding="utf-8")))
    code = rank.process.returncode
    return Outcome("killed", f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}")


def _error(outcomes: Sequence[Outcome], ranks: Sequence[_Rank], failed: _Rank) -> Exception:
    """What the first rank to fail by itself says."""
    order = [failed.number, *range(len(ranks))]
    number = failed.number
    for kinds in (("user", "fault", "killed"), ("interrupted",)):  # what another rank's end has caused says least
        if found := [i for i in order if outcomes[i].kind in kinds]:
            number = found[0]
            break
    if outcomes[0].kind == "user":
        number = 0  # what several say, the first says for all
    outcome = outcomes[number]
    if outcome.kind == "interrupted":
        return Interrupted(outcome.signum, outcomes[0].text or outcome.text)
    who = f"rank {number} " if number else ""
    if outcome.kind == "user":
        return UserError(f"{who and f'rank {number}: '}{outcome.text}")
    if outcome.kind == "fault":
        return RankError(f"rank {number} failed:\n{outcome.text}")
    said = "".join(ranks[number].lines)
    hint = next((found.text for found in outcomes if found.kind == "other" and "\n" in found.text), "")
    return UserError(f"{said}rank {number} {outcome.text}.{hint[hint.find(chr(10)) :]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rank_main() -> int:
    """This process's part of a job that it reads from its standard input; the exit code."""
    with open(0, "rb", buffering=0, closefd=False) as parent:
        job = json.loads(parent.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv[:1] = job["argv"]
    module, _, name = job["place"].partition(":")
    code = EXIT_DONE
    try:
        config = OmegaConf.create(job["config"])
        outcome = Outcome("done", value=getattr(importlib.import_module(module), name)(config, **job["more"]))
    except BaseException as error:
        outcome, code = _of_error(error)
    file = Path(job["outcomes"]) / f"{os.environ['RANK']}.json"
    file.write_text(json.dumps(outcome._asdict(), default=str), encoding="utf-8")
    sys.stdout.flush()
    return code


def _of_error(error: BaseException) -> tuple[Outcome, int]:
    text, code = explain(error)
    if isinstance(error, Interrupted):
        return Outcome("interrupted", text or "", error.signum), code
    if isinstance(error, OtherRankError):
        return Outcome("other", "\n".join([str(error), *getattr(error, "__notes__", ())])), code
    if text is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
        return Outcome("fault", mask_said("".join(traceback.format_exception(error)))), EXIT_USER
    return Outcome("user", text), code


def _end_with_parent() -> None:
    """Ends this process when the one that watches it has gone; nobody else would."""
    while os.read(0, 1):
        pass
    os._exit(EXIT_USER)


if __name__ == "__main__":
    raise SystemExit(rank_main())
