"""Checkpoints on disk: never half-written, and never able to run code when read."""

from __future__ import annotations

import errno
import pickle
import re
import warnings
from pathlib import Path
from typing import IO, Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from manyheads.atomic import replacing
from manyheads.errors import UserError


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes the file; on any failure the old one stays whole.

    Raises OSError when the disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, "wb") as file:
        _save(checkpoint, file)


def read_checkpoint(path: Path, map_location: Any = "cpu", *, mapped: bool = False) -> dict[str, Any]:
    """The checkpoint in `path`, read with `weights_only=True`; `mapped`: its tensors only when they are looked at.

    Raises UserError, with the file's name, for a file that is missing, truncated, of another kind (a folder: a sharded
    checkpoint), or that holds Python objects other than tensors and plain containers.
    """
    if path.is_dir():
        raise UserError(
            f"checkpoint {path} is a folder: a sharded checkpoint is not read, since its .metadata is a pickle, which could "
            f"run code.{_others(path)}"
        )
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist.{_others(path)}")
    try:
        with warnings.catch_warnings():
            # torch remarks on a foreign pickle before it refuses it
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location=map_location, weights_only=True, mmap=mapped or None)
    except pickle.UnpicklingError as error:
        raise UserError(_refusal(path, str(error))) from error
    except OSError as error:
        # a seek before the file's start, which some truncated archives lead to, is EINVAL
        reason = "is truncated or no checkpoint" if error.errno == errno.EINVAL else f"cannot be read: {error.strerror}"
        raise UserError(f"checkpoint {path} {reason}.{_others(path)}") from error
    except (RuntimeError, EOFError, KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise UserError(f"checkpoint {path} is truncated or no checkpoint.{_others(path)}") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"checkpoint {path} holds a {type(checkpoint).__name__}, not a checkpoint.{_others(path)}")
    return checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to the disk, through `write_checkpoint` and `read_checkpoint`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes `checkpoint` to `path`. Raises OSError; the old file then stays whole."""
        assert storage_options is None
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint in `path`, always with `weights_only=True`, whatever is asked. Raises UserError."""
        return read_checkpoint(Path(path), map_location)


def _save(checkpoint: dict[str, Any], file: IO[bytes]) -> None:
    """torch.save to an open file; a disk that fills up is an OSError."""
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        # torch still closes its archive when a write has failed, and that complaint hides the first one
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _refusal(path: Path, reason: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", reason)
    if found is None:
        return f"checkpoint {path} is truncated or no checkpoint.{_others(path)}"
    return (
        f"checkpoint {path} holds the Python object {found[1]}, which could run code, so it is not read.{_others(path)}"
    )


def _others(path: Path) -> str:
    """Which whole checkpoints stand beside `path`."""
    names = sorted(file.stem for file in path.parent.glob("*.ckpt") if file.name != path.name)
    return f" Beside it: checkpoint={' or '.join(names)}." if names else ""
