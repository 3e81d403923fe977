"""Tensors and modules of which each rank holds a part (DTensor, FSDP2): from the part to the whole and back.

What is not sharded passes through unchanged, so that nobody has to ask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(module: nn.Module) -> bool:
    """Whether FSDP2 has the module, or a part of it."""
    return any(isinstance(part, FSDPModule) for part in module.modules())


def local(tensor: Tensor) -> Tensor:
    """This rank's part, in the tensor's own memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor. To be called by all ranks."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor in parts as `like` is. Every rank has the whole, so none is sent."""
    if not isinstance(like, DTensor):
        return value
    value = value.to(like.device)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def parts_of(values: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors by name in parts as those of the same names are."""
    return {name: part_of(value, like[name]) for name, value in values.items()}


def added_up(sums: Tensor, of: Iterable[Tensor]) -> Tensor:
    """Sums over this rank's parts of tensors, added over the ranks."""
    if any(isinstance(tensor, DTensor) for tensor in of):
        dist.all_reduce(sums)
    return sums


def shard(
    module: nn.Module, parts: Iterable[nn.Module], mesh: DeviceMesh, *, methods: Iterable[str], cpu_offload: bool
) -> None:
    """Leaves each rank of `mesh` a part of each parameter; `parts` are gathered one at a time while they compute.

    `methods` of the module are those that compute. Gradients become means over the ranks.
    """
    offload = CPUOffloadPolicy(pin_memory=mesh.device_type == "cuda") if cpu_offload else OffloadPolicy()
    for part in (*parts, module):
        made = fully_shard(part, mesh=mesh, reshard_after_forward=True, offload_policy=offload)
        if mesh.device_type == "cpu":
            made.set_force_sum_reduction_for_comms(True)  # gloo knows no mean
    for name in methods:
        register_fsdp_forward_method(module, name)


@contextlib.contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Within it the parameters are whole, on every rank, and computing asks no other rank. For all ranks, once the module
    has computed before."""
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(True, recurse=False)
