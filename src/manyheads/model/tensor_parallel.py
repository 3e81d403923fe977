"""Tensor parallelism of the decoder: each rank computes some of the heads and some of the feed-forward columns."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.parallel.style import ParallelStyle

from manyheads.errors import UserError
from manyheads.model.decoder import Decoder

COLUMNS = ("attention.query", "attention.key", "attention.value", "feed_forward.gate", "feed_forward.up")
ROWS = ("attention.output", "feed_forward.down")
"""The parts of a block of which a rank has some outputs, and those of which it has some inputs."""

DIVIDED = ("num_heads", "num_kv_heads", "ff_dim")
"""The settings of the decoder that the number of ranks has to divide."""


def parallelize(network: Decoder, mesh: DeviceMesh) -> None:
    """Leaves each rank of `mesh` [ranks] its share of the matrices of every block (Shoeybi et al. 2019, "Megatron-LM",
    section 3), in place. Every rank reads the same batch and gets the whole hidden states; embedding, norms and head are
    whole on every rank, with whole gradients.

    Raises UserError for a network that does not divide, naming what to set.
    """
    check_divides(network, mesh.size())
    plan: dict[str, ParallelStyle] = {}
    for i, block in enumerate(network.blocks):
        plan |= {f"blocks.{i}.{part}": ColwiseParallel() for part in COLUMNS}
        plan |= {f"blocks.{i}.{part}": RowwiseParallel() for part in ROWS}
        if block.feed_forward.gate is None:  # type: ignore[union-attr]
            del plan[f"blocks.{i}.feed_forward.gate"]
        for norm in (block.attention.query_norm, block.attention.key_norm):  # type: ignore[union-attr]
            if isinstance(norm, nn.Module):
                _add_up_gradients(norm, mesh)
    parallelize_module(network, mesh, plan, src_data_rank=None)  # every rank has the whole, so none is sent


def check_divides(network: Decoder, count: int) -> None:
    """Raises UserError for a network that cannot be shared out over `count` ranks."""
    settings = network.settings
    for name in DIVIDED:
        if settings[name] % count:
            near = max(settings[name] // count, 1) * count
            raise UserError(
                f"model.{name}={settings[name]} is no multiple of {count}, the ranks of tensor parallelism. "
                f"Set model.{name}={near} or another multiple."
            )
    remedies = {
        "sinks": (settings["sinks"], "false"),
        "positions": (settings["positions"] == "alibi", "rotary"),
        "num_experts": (settings["num_experts"] is not None, "null"),
        "dropout": (settings["dropout"] > 0, "0"),
    }
    for name, (refused, remedy) in remedies.items():
        if refused:
            raise UserError(
                f"model.{name}={settings[name]} does not go together with tensor parallelism. Set model.{name}={remedy}."
            )


def _add_up_gradients(norm: nn.Module, mesh: DeviceMesh) -> None:
    """Of a norm that each rank applies to its own heads alone."""

    def added_up(gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total, group=mesh.get_group())
        return total

    for parameter in norm.parameters():
        parameter.register_hook(added_up)
