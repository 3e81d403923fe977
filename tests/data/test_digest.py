"""Guards: the remembered digest of a large file that has changed since."""

import hashlib
import os
from pathlib import Path

import pytest

import manyheads.data.digest as digest_module
from manyheads.data.digest import digest


def test_a_large_file_is_read_once_and_again_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digest_module, "REMEMBERED_BYTES", 1)
    reads = []
    compute = digest_module._compute
    monkeypatch.setattr(digest_module, "_compute", lambda path: reads.append(path) or compute(path))
    file = tmp_path / "f"
    file.write_bytes(b"one")
    before = os.stat(file)
    assert digest(file) == digest(file) == hashlib.sha256(b"one").hexdigest()
    assert len(reads) == 1
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest(file) == hashlib.sha256(b"two").hexdigest()
