"""Memory that a step has freed stays with the process for the next one.

glibc hands freed memory back to the system: blocks of their own (above 128 kB at first, above 32 MB at most) at once, and
the end of the heap when more than twice that is free. A training step frees all that it computed, so that the next one
gets its memory page by page anew, each with a fault and a clearing by the kernel (mallopt(3): M_MMAP_THRESHOLD,
M_TRIM_THRESHOLD). The numbers that are computed are the same.
"""

from __future__ import annotations

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
LIMIT = 1 << 30  # bytes: what is larger still comes from the system and goes back to it

_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""With which a user says it, or brings another allocator; then nothing is set here."""


def keep_freed_memory() -> bool:
    """Sets both thresholds of this process to 1 GiB; whether it did: only glibc has them."""
    if platform.libc_ver()[0] != "glibc" or any(os.environ.get(name) for name in _VARIABLES):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(TRIM_THRESHOLD, LIMIT)) & bool(mallopt(MMAP_THRESHOLD, LIMIT))
