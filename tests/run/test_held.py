"""Guards two processes that train in one folder, and a folder that stays held by what a killed run has left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.run.folder import RunFolder
from manyheads.run.held import held

HOLDS = """
import os, sys, time
from pathlib import Path
from manyheads.run.folder import RunFolder
from manyheads.run.held import held
with held(RunFolder(Path(sys.argv[1]))):
    child = os.fork()
    if not child:
        time.sleep(60)
    print(child, flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_until_the_first_is_gone_however_it_went(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        child = int(other.stdout.readline())
        try:
            with pytest.raises(UserError) as caught, held(RunFolder(tmp_path)):
                pass
            told = f"resume={tmp_path}: another process is training this run. Wait for it, or stop it first."
            assert str(caught.value) == told
            time.sleep(0.1)  # the child lets go when it begins
            other.kill()
            other.wait()
            with held(RunFolder(tmp_path)):  # though what it had forked goes on
                os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_folder_can_be_held_again(tmp_path: Path) -> None:
    for _ in range(2):
        with held(RunFolder(tmp_path)):
            pass
    with pytest.raises(ValueError, match="stopped"), held(RunFolder(tmp_path)):
        raise ValueError("stopped")
    with held(RunFolder(tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []
