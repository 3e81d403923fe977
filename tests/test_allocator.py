import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from manyheads.allocator import keep_freed_memory

print(keep_freed_memory())
for n in range(15):
    if n == 10:  # by then the heap has the places that a step needs
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step = [torch.ones(5_000_000) for _ in range(4)]  # 20 MB each, all freed at once
    del step
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 5 * 4 * 20_000_000 // 4096  # of the five steps that are counted


def faults(**environment: str) -> tuple[str, int]:
    """Whether it was set, and how many pages the system had to give anew."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    was_set, count = done.stdout.split()
    return was_set, int(count)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds"),
]


def test_what_a_step_has_freed_is_there_for_the_next_one() -> None:
    was_set, count = faults()
    assert was_set == "True"
    assert count < PAGES / 20


def test_what_the_user_has_set_is_left_alone() -> None:
    was_set, count = faults(MALLOC_MMAP_THRESHOLD_="131072")
    assert was_set == "False"
    assert count > PAGES / 20  # else this measures nothing
