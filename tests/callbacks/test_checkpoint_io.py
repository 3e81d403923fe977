from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from manyheads.callbacks.checkpoint_io import AtomicCheckpointIO, read_checkpoint, write_checkpoint
from manyheads.errors import UserError


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    write_checkpoint({"step": 1}, path)
    return path


def assert_old_alone(path: Path) -> None:
    assert read_checkpoint(path) == {"step": 1}
    assert os.listdir(path.parent) == [path.name]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    write_checkpoint({"weight": torch.arange(3.0), "text": "a", "ranks": [(1, None)]}, path)
    read = AtomicCheckpointIO().load_checkpoint(path)
    assert torch.equal(read.pop("weight"), torch.arange(3.0))
    assert read == {"text": "a", "ranks": [(1, None)]}


def test_the_file_is_readable_by_whom_the_umask_says(old: Path) -> None:
    # guards: the temporary file's 0600 surviving the rename, so that a colleague cannot read the run
    mask = os.umask(0o022)
    os.umask(mask)
    assert old.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_disk_that_fills_up_while_writing_leaves_the_old_file(old: Path) -> None:
    # guards: torch's RuntimeError in place of OSError, and half a file under the old name or a temporary one
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large"):
            write_checkpoint({"weight": torch.zeros(100_000)}, old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_old_alone(old)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_any_end_before_the_rename_leaves_the_old_file(
    old: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        write_checkpoint({"step": 2}, old)
    monkeypatch.undo()
    assert_old_alone(old)


@pytest.mark.slow
def test_a_process_that_is_killed_while_writing_leaves_the_old_file(old: Path) -> None:
    """SIGKILL, as the kernel sends it when memory runs out, lets nothing be tidied up: the half lies beside the old file."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from manyheads.callbacks import checkpoint_io\n"
        "def save(checkpoint, file):\n"
        "    file.write(b'half'); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "torch.save = save\n"
        "checkpoint_io.write_checkpoint({'step': 2}, Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(old)], check=False)
    assert done.returncode == -signal.SIGKILL
    [half] = [name for name in os.listdir(old.parent) if name != old.name]
    assert (old.parent / half).read_bytes() == b"half"
    assert not half.endswith(".ckpt")
    assert read_checkpoint(old) == {"step": 1}
    write_checkpoint({"step": 3}, old)
    assert read_checkpoint(old) == {"step": 3}


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, part: float) -> None:
    path = tmp_path / "best.ckpt"
    write_checkpoint({"weight": torch.zeros(1000)}, path)
    write_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    assert str(caught.value) == f"checkpoint {path} is truncated or no checkpoint. Beside it: checkpoint=last."


@pytest.mark.parametrize(
    "content", [b"hello, world\n" * 100, b"\x80\x02}q\x00.", b"PK\x03\x04 not a zip", b"\xff" * 50]
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"checkpoint {path} "):
        read_checkpoint(path)


def test_a_missing_file_names_what_is_there(old: Path) -> None:
    with pytest.raises(UserError, match=r"best\.ckpt does not exist\. Beside it: checkpoint=last\."):
        read_checkpoint(old.with_name("best.ckpt"))


def test_a_tensor_alone_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save(torch.zeros(2), path)
    with pytest.raises(UserError, match="holds a Tensor, not a checkpoint"):
        read_checkpoint(path)


class Planted:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_code_in_a_checkpoint_never_runs(tmp_path: Path, plain_pickle: bool) -> None:
    # guards: any way back to weights_only=False, also when the caller asks for it
    path, target = tmp_path / "best.ckpt", tmp_path / "ran"
    planted = {"state_dict": {}, "extra": Planted(target)}
    if plain_pickle:
        path.write_bytes(pickle.dumps(planted))
    else:
        torch.save(planted, path)
    with pytest.raises(UserError, match="checkpoint"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not target.exists()
    # the plant does work
    pickle.loads(path.read_bytes()) if plain_pickle else torch.load(path, weights_only=False)
    assert target.exists()


def test_the_refusal_names_the_object(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"extra": Planted(tmp_path / "ran")}, path)
    with pytest.raises(UserError, match=r"holds the Python object posix\.system, which could run code"):
        read_checkpoint(path)
