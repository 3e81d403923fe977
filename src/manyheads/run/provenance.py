"""Where a result comes from: code, versions, machine, command line."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manyheads.run.secrets import mask

PACKAGES = ("manyheads", "torch", "pytorch-lightning", "hydra-core", "tokenizers", "datasets", "wandb", "numpy")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that can change a number; torch's says for which device it was built."""
    import torch

    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | found | {"torch": str(torch.__version__)}


def git_state(where: Path | None = None) -> tuple[str | None, bool | None]:
    """(commit, whether the tree has uncommitted changes) of the checkout at `where`; (None, None) outside of one."""
    commit = _git("rev-parse", "HEAD", where=where)
    status = _git("status", "--porcelain", where=where)
    return (commit, None if status is None else bool(status)) if commit else (None, None)


def provenance(argv: Sequence[str], seed: int) -> dict[str, Any]:
    """What is known when a run starts; secrets masked."""
    commit, dirty = git_state()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(mask(word) for word in argv),
        "git_commit": commit,
        "git_dirty": dirty,
        "versions": versions(),
        "host": platform.node(),
        "platform": platform.platform(),
        "seed": seed,
    }


def device_name(device: Any) -> str:
    """The device a run is on, in words."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{platform.processor() or platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"


def peak_memory_bytes() -> int:
    """The most memory this process has held so far, in bytes; on a GPU, the most allocated there."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _git(*words: str, where: Path | None) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
