"""What holds while a command runs: rights, disks, limits, the environment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def bound_by_rights() -> Iterator[None]:
    """File permissions count for root too: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capabilities(7)) are given up."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root cannot give up its rights here")
    system, header, data = ctypes.CDLL(None), _Header(0x20080522, 0), (_Data * 2)()
    system.capget(ctypes.byref(header), data)
    before = data[0].effective
    data[0].effective = before & ~0b110
    system.capset(ctypes.byref(header), data)
    try:
        yield
    finally:
        data[0].effective = before
        system.capset(ctypes.byref(header), data)


def read_only(*names: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Folders that cannot be written."""

    @contextlib.contextmanager
    def within() -> Iterator[None]:
        for name in names:
            Path(name).mkdir(parents=True, exist_ok=True)
            Path(name).chmod(0o555)
        try:
            with bound_by_rights():
                yield
        finally:
            for name in names:
                Path(name).chmod(0o755)

    return within


def on_disk(options: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The current folder is a file system of its own."""

    @contextlib.contextmanager
    def within() -> Iterator[None]:
        here, disk = Path.cwd(), Path("disk").absolute()
        disk.mkdir()
        tried = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True)
        if tried.returncode:
            pytest.skip(f"cannot mount here: {tried.stderr.decode().strip()}")
        try:
            os.chdir(disk)
            yield
        finally:
            os.chdir(here)
            subprocess.run(["umount", str(disk)], check=True)

    return within


def cache_on_disk(options: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def within() -> Iterator[None]:
        with on_disk(options)(), environment(MANYHEADS_CACHE=os.getcwd())():
            yield

    return within


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 100,000 bytes, as after `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def environment(**values: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def within() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in values.items():
                patch.setenv(name, value)
            yield

    return within


@contextlib.contextmanager
def no_gpu() -> Iterator[None]:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    yield
