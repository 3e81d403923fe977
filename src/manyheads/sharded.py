"""Tensors and modules of which each rank holds a part (DTensor, FSDP2): from the part to the whole and back.

What is not sharded passes through unchanged, so that nobody has to ask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
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
    """Whether a rank holds no more than a part of some weight, by FSDP2 or as a DTensor."""
    return any(isinstance(part, FSDPModule) for part in module.modules()) or are_parts(module.parameters())


def are_parts(tensors: Iterable[Tensor]) -> bool:
    """Whether one of the tensors stands for parts on several ranks."""
    return any(isinstance(tensor, DTensor) for tensor in tensors)


def are_alike(tensors: Iterable[Tensor]) -> bool:
    """Whether all of them do, or none: torch takes no list of both."""
    return len({isinstance(tensor, DTensor) for tensor in tensors}) < 2


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


def square_norms(tensors: Sequence[Tensor]) -> Tensor:
    """The square of the Euclidean norm of each whole tensor, [tensors]; nothing waits.

    In float32, or float64 where a tensor is. To be called by all ranks where each holds a part of some.
    """
    own = [local(tensor) for tensor in tensors]
    wide = torch.float64 if any(tensor.dtype == torch.float64 for tensor in own) else torch.float32
    squares = torch.stack(torch._foreach_norm(own, 2, dtype=wide)).square()  # pyright: ignore[reportPrivateImportUsage]
    cut = [i for i, tensor in enumerate(tensors) if isinstance(tensor, DTensor) and not _is_on_all(tensor)]
    if cut:
        parts, first = squares[cut], tensors[cut[0]]
        assert isinstance(first, DTensor)
        dist.all_reduce(parts, group=first.device_mesh.get_group())
        squares[cut] = parts
    return squares


def clip_gradients(parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
    """nn.utils.clip_grad_norm_, also where only some parameters are in parts; the norm of the whole gradient, []."""
    if are_alike(parameters):
        return whole(nn.utils.clip_grad_norm_(parameters, limit))
    found = [p for p in parameters if p.grad is not None]
    norm = square_norms([p.grad for p in found if p.grad is not None]).sum().sqrt()
    for kind in (True, False):
        nn.utils.clip_grads_with_norm_([p for p in found if isinstance(p, DTensor) is kind], limit, norm)
    return norm


def _is_on_all(tensor: DTensor) -> bool:
    return all(placement.is_replicate() for placement in tensor.placements)


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
