"""This process among those that train together: its rank, and what the ranks agree on.

A rank is told who it is by the environment, as torchrun does it: RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE,
MASTER_ADDR and MASTER_PORT. Without them there is one rank.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from manyheads.errors import OtherRankError, UserError, explain

T = TypeVar("T")

_data_parallel: dist.ProcessGroup | None = None

LOST = re.compile(
    r"connection (?:was )?(?:closed|reset|refused|aborted)|broken pipe|socket closed|timed out waiting"
    r"|gloo/transport|NCCL|remote process exited",
    re.IGNORECASE,
)
"""What the ranks that are left are told when one has gone."""


def started() -> bool:
    """Whether something has started this process as one of several ranks."""
    return "RANK" in os.environ


def rank() -> int:
    """This process's number."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", 0))


def world() -> int:
    """How many processes train together."""
    # the group first: Lightning takes WORLD_SIZE out of the environment at the end of each fit
    return dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", 1))


def local_world() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world())) if started() else 1


def is_first() -> bool:
    """Whether this is the rank that shows and writes."""
    return rank() == 0


def set_data_parallel(group: dist.ProcessGroup) -> None:
    """Says which ranks read different rows, where not all do; it holds until the ranks part."""
    global _data_parallel
    _data_parallel = group


def data_parallel() -> dist.ProcessGroup | None:
    """The ranks that read different rows, this one among them; None: all of them. What is summed over rows is summed over
    these: ranks that compute the same rows together (tensor parallelism) each have the whole sum of those."""
    return _data_parallel


def data_parallel_rank() -> int:
    """This process's number among them."""
    return dist.get_rank(_data_parallel) if dist.is_initialized() else rank()


def data_parallel_size() -> int:
    """How many there are."""
    return dist.get_world_size(_data_parallel) if dist.is_initialized() else 1


def layout(devices: int | str | list[int], num_nodes: int) -> tuple[int | str | list[int], int]:
    """(devices, num_nodes) for Lightning's Trainer: those asked for, or those that the launcher of this rank has chosen.

    Raises UserError when the launcher has started another number of processes than were asked for.
    """
    if not started():
        return devices, num_nodes
    asked = len(devices) if isinstance(devices, list) else devices
    if asked not in ("auto", -1, 1, local_world()):  # 1 is what conf/trainer says when nobody says anything
        raise UserError(
            f"trainer.devices={devices}: {local_world()} processes were started on this machine. "
            f"Set trainer.devices={local_world()} or auto."
        )
    return devices if isinstance(devices, list) else local_world(), world() // local_world()


@contextlib.contextmanager
def joined(on_gpu: bool) -> Iterator[None]:
    """Within it the ranks can talk to each other. An error that another rank's end has caused becomes OtherRankError."""
    if dist.is_initialized():
        yield
        return
    places = {name: os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT")}
    try:
        if world() > 1:
            # without a GPU NCCL's own words would come first; the trainer says what to set
            dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu and torch.cuda.is_available() else "gloo")
        yield
    except Exception as error:
        if world() == 1 or not is_lost(error):
            raise
        lost = OtherRankError("another rank has ended; it says why")
        for note in getattr(error, "__notes__", ()):
            lost.add_note(note)
        raise lost from error
    finally:
        _forget_data_parallel()
        if dist.is_initialized():
            dist.destroy_process_group()
        for name, place in places.items():  # Lightning leaves its own, which a child would take for its parent's
            os.environ.pop(name, None) if place is None else os.environ.update({name: place})


def _forget_data_parallel() -> None:
    global _data_parallel
    _data_parallel = None


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """A part that every rank goes through: when it raises on one of them, it raises on all.

    The first rank that failed raises its own error, the others OtherRankError.
    """
    if not dist.is_initialized():
        yield
        return
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    failed = [failure is not None for failure in gathered(error and (explain(error).text or repr(error)))]
    if error is not None and failed.index(True) == rank():
        raise error
    if any(failed):
        raise OtherRankError(f"rank {failed.index(True)} could not go on") from error


def gathered(value: T, group: dist.ProcessGroup | None = None) -> list[T]:
    """The value of every rank, or of those of a group, in their order."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives on the first rank, on every rank; it is called on no other."""
    if not dist.is_initialized():
        return make()
    box: list[Any] = [make() if is_first() else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def is_lost(error: Exception) -> bool:
    """Whether an error says no more than that another rank has gone."""
    kinds = (dist.DistBackendError, dist.DistNetworkError)
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and bool(LOST.search(str(error))))
