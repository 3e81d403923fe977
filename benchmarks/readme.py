"""Runs the commands of README.md, in order, in a temporary copy of the checkout; stops at the first that fails.

    python benchmarks/readme.py [--list]

Every command line of a ```bash block is run by itself with bash, and every ```python block as one program. A comment
`<!-- not run: REASON -->` right above a block exempts it, and the reason is printed. What is changed in a command before
it runs:

- RUN and OTHER become the newest run folder and the one before it.
- A command that trains gets a small budget: its own trainer.max_* are taken out and TRAINING is put in, or RESUMING
  where it resumes. What is printed is the command that ran.

Hugging Face's hub and W&B are switched off, and the cache is an empty folder: nothing comes from the network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TRAINING = "trainer.max_steps=5 trainer.val_every_n_steps=5"
RESUMING = "trainer.max_steps=8"
OFFLINE = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
LEFT_OUT = (".*", "outputs", "__pycache__")

_BLOCK = re.compile(r"(?:<!--(?P<comment>[^>]*)-->\n)?```(?P<language>bash|python)\n(?P<body>.*?)```\n", re.DOTALL)
_TRAIN = re.compile(r"(python train\.py|manyheads train)\b")


class Block(NamedTuple):
    """One fenced block."""

    language: str
    body: str
    reason: str | None  # why it is not run


def blocks(text: str) -> list[Block]:
    """The bash and python blocks of a Markdown text, in order."""
    found = []
    for match in _BLOCK.finditer(text):
        reason = re.fullmatch(r"\s*not run:\s*(\S.*?)\s*", match["comment"] or "", re.DOTALL)
        found.append(Block(match["language"], match["body"], reason[1] if reason else None))
    return found


def commands(block: Block) -> list[str]:
    """What is run of a block: each line of a shell, lines that end in a backslash joined; a program as a whole."""
    if block.language == "python":
        return [block.body]
    lines = block.body.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def with_budget(command: str) -> str:
    """A command that trains, with a small budget in the place of its own; any other command as it is."""
    if not _TRAIN.search(command) or re.search(r"\s(--help|--cfg|-sc|--info)\b", command):
        return command
    small = RESUMING if "resume=" in command else TRAINING
    return _TRAIN.sub(rf"\1 {small}", re.sub(r"\strainer\.max_\w+=\S+", "", command))


def with_runs(command: str, folder: Path) -> str:
    """The command with the newest run folders, as paths below `folder`, for RUN and OTHER."""
    if not re.search(r"\b(RUN|OTHER)\b", command):
        return command
    from manyheads.run.find import find_runs

    runs = [str(run.path.relative_to(folder)) for run in find_runs(folder)]
    for place, name in enumerate(("RUN", "OTHER")):
        if re.search(rf"\b{name}\b", command):
            command = re.sub(rf"\b{name}\b", runs[place], command)
    return command


def todo(text: str) -> Iterator[tuple[str, str]]:
    """(language, command) for everything that is to run; prints what is exempt."""
    for block in blocks(text):
        if block.reason is None:
            yield from ((block.language, command) for command in commands(block))
        else:
            print(f"not run ({block.reason}):\n{block.body}", flush=True)


def run(language: str, command: str, folder: Path) -> int:
    """Runs one command in `folder`, prints it, its last lines and its time, and returns its exit code."""
    if language == "bash":
        command = with_runs(with_budget(command), folder)
        words = ["bash", "-c", command]
    else:
        words = [sys.executable, "-c", command]
    print(
        "\n".join(f"{'$' if language == 'bash' else '>>>'} {line}" for line in command.rstrip().splitlines()),
        flush=True,
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **OFFLINE, "PATH": path, "MANYHEADS_CACHE": str(folder.parent / "cache")}
    started = time.perf_counter()
    done = subprocess.run(
        words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines = done.stdout.decode(errors="replace").rstrip().splitlines()
    shown = lines if done.returncode else lines[-3:]
    print("\n".join(f"    {line}" for line in shown))
    print(f"    [exit {done.returncode}, {time.perf_counter() - started:.1f} s]\n", flush=True)
    return done.returncode


def main(arguments: list[str]) -> int:
    """Runs all, or with --list only prints them; 1 when a command fails."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if "--list" in arguments:
        for _, command in todo(text):
            print(with_budget(command))
        return 0
    count = 0
    with tempfile.TemporaryDirectory(prefix="readme-") as work:
        folder = Path(work).resolve() / "manyheads"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        for language, command in todo(text):
            if run(language, command, folder):
                print(f"README.md: this command fails:\n{command}", file=sys.stderr)
                return 1
            count += 1
    print(f"{count} commands of README.md ran")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
