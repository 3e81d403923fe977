"""Guards who a process is and what ranks agree on: here alone, and in two real gloo processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from manyheads import ranks
from manyheads.errors import UserError

TWO = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}


def test_a_process_that_nothing_started_is_alone() -> None:
    assert (ranks.started(), ranks.rank(), ranks.world(), ranks.local_world(), ranks.is_first()) == (
        False,
        0,
        1,
        1,
        True,
    )
    assert ranks.layout("auto", 1) == ("auto", 1)
    assert ranks.gathered("x") == ["x"]
    assert ranks.from_first(lambda: 3) == 3
    with pytest.raises(ValueError, match="mine"), ranks.joined(on_gpu=False), ranks.agreed():
        raise ValueError("mine")


def test_a_launcher_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    assert (ranks.started(), ranks.rank(), ranks.world(), ranks.local_world(), ranks.is_first()) == (
        True,
        1,
        4,
        2,
        False,
    )
    assert ranks.layout("auto", 1) == ranks.layout(1, 1) == ranks.layout(2, 2) == (2, 2)
    assert ranks.layout([4, 7], 1) == ([4, 7], 2)
    with pytest.raises(
        UserError, match=r"trainer\.devices=3: 2 processes were started on this machine\. Set trainer\.devices=2"
    ):
        ranks.layout(3, 1)


AGREES = """
import os
from manyheads import ranks
from manyheads.errors import OtherRankError, UserError

with ranks.joined(on_gpu=False):
    me = ranks.rank()
    assert ranks.gathered(me * 10) == [0, 10]
    assert ranks.from_first(lambda: f"made by {me}") == "made by 0"
    with ranks.agreed():
        pass
    for failing in ((0,), (1,), (0, 1)):
        said = ""
        try:
            with ranks.agreed():
                if me in failing:
                    raise UserError(f"rank {me} cannot")
        except (OtherRankError, UserError) as error:
            said = str(error)
        assert said == (f"rank {me} cannot" if me == failing[0] else f"rank {failing[0]} could not go on"), said
try:
    with ranks.joined(on_gpu=False):
        if me == 1:
            os._exit(7)
        ranks.gathered(me)
except OtherRankError as error:
    assert str(error) == "another rank has ended; it says why"
    os._exit(8)
"""


@pytest.mark.ddp
@pytest.mark.timeout(120)
def test_two_ranks_agree_and_notice_an_end() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", AGREES],
            env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    ends = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [8, 7], ends


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (
            RuntimeError(
                "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3"
            ),
            True,
        ),
        (BrokenPipeError("Broken pipe"), False),  # of a reader that went away
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (UserError("data.path=peer: there is no such file"), False),
    ],
)
def test_what_a_lost_rank_sounds_like(error: Exception, lost: bool) -> None:
    assert ranks.is_lost(error) is lost


def test_one_process_reads_all_rows() -> None:
    assert (ranks.data_parallel(), ranks.data_parallel_rank(), ranks.data_parallel_size()) == (None, 0, 1)
