"""How a run folder is known, whatever looks at it."""

from __future__ import annotations

from pathlib import Path


def is_run_folder(path: Path) -> bool:
    """Whether a folder is one that a run of ours made: it holds a config.yaml with our stamp. A link is none."""
    config = path / "config.yaml"
    if path.is_symlink() or not path.is_dir() or config.is_symlink() or not config.is_file():
        return False
    with config.open("rb") as file:
        return file.read(4096).startswith(b"manyheads:")
