"""How much memory training and decoding take, found out without taking it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from manyheads.batch import Batch
from manyheads.head.base import Head
from manyheads.model.regions import recompute_blocks, repeated_blocks
from manyheads.optim.base import Optimization

_DTYPES = {"16": torch.float16, "bf16": torch.bfloat16, "32": torch.float32, "64": torch.float64}


def dtypes(precision: str) -> tuple[torch.dtype, torch.dtype | None]:
    """(what weights are in, what matrices are multiplied in or None for the same), of one of Lightning's precisions."""
    bits, _, kind = precision.partition("-")
    if kind == "mixed" or (not kind and bits in ("16", "bf16")):
        return torch.float32, _DTYPES[bits]
    return _DTYPES[bits], None


def in_dtype(weights: torch.dtype, make: Callable[[], tuple[nn.Module, Head]]) -> tuple[nn.Module, Head]:
    """What `make` builds, with weights in that precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(weights)
    try:
        return make()
    finally:
        torch.set_default_dtype(before)


def weight_bytes(module: nn.Module, trained: bool = False) -> int:
    """Bytes of all parameters, tied ones once; or of those alone that are trained, which is what gradients take."""
    return sum(_bytes(p) for p in module.parameters() if p.requires_grad or not trained)


def optimizer_bytes(module: nn.Module, optimization: Callable[..., Optimization]) -> int | None:
    """Bytes of the optimizer's state after a step, by taking one on torch's meta device, where `module` must be.

    None for an optimizer that asks for numbers, which are not there.
    """
    optimizer = optimization(module=module).optimizer
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except (NotImplementedError, RuntimeError):
        return None
    state = [value for values in optimizer.state.values() for value in values.values()]
    return sum(_bytes(value) for value in state if isinstance(value, Tensor))


def activation_bytes(
    make: Callable[[], tuple[nn.Module, Head]],
    *,
    batch_size: int,
    seq_len: int,
    weights: torch.dtype = torch.float32,
    autocast: torch.dtype | None = None,
    recompute_every: int | None = None,
    fused: bool = False,
) -> int:
    """Bytes that a forward pass over packed rows keeps for its backward pass.

    `make` builds the network and the head; it is called on fake tensors, which have shapes and no memory. What the
    forward pass saves is then counted, each storage once, parameters apart: what it saves on a CPU. There, attention with
    dropout keeps its weights [B, H, T, S]; with `fused` it does not, as on a GPU (Dao et al. 2022, "FlashAttention",
    section 3.1). What a compiler makes saves less. With `recompute_every` (see `recompute_blocks`)
    the backward pass holds one block's activations at a time besides.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), _FusedAttention() if fused else contextlib.nullcontext():
        network, head = in_dtype(weights, make)
        network.train()
        head.train()
        ids = torch.zeros(batch_size, seq_len, dtype=torch.int64)
        batch = Batch(input_ids=ids, labels=ids.clone(), positions=ids.clone(), segments=torch.ones_like(ids))
        whole = saved_bytes(network, head, batch, autocast)
        if recompute_every is None:
            return whole
        recompute_blocks(network, recompute_every)
        kept = saved_bytes(network, head, batch, autocast)
        return kept + (whole - kept) // max(1, len(repeated_blocks(network)) // recompute_every)


class _FusedAttention(TorchFunctionMode):
    """Leaves attention's dropout out: with it, a CPU has no kernel that is fused."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = kwargs or {}
        if func is F.scaled_dot_product_attention:
            settings = {**settings, "dropout_p": 0.0}
        return func(*args, **settings)


def saved_bytes(network: nn.Module, head: Head, batch: Batch, autocast: torch.dtype | None = None) -> int:
    """Bytes that one forward pass keeps for its backward pass, parameters apart."""
    own = {p.untyped_storage()._cdata for part in (network, head) for p in part.parameters()}
    saved: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage  # held, so that its address is not given to another
        return tensor

    with (
        torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        head(network(batch), batch)
    return sum(storage.nbytes() for storage in saved.values())


def cache_bytes(make: Callable[[], tuple[nn.Module, Head]], *, batch_size: int, seq_len: int) -> int | None:
    """Bytes of keys and values in decoding `batch_size` texts of `seq_len` tokens; None for a network without a cache.

    `make` is called on fake tensors, and a token is read, with room for the others.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.no_grad():
        network = make()[0].eval()
        if not hasattr(network, "new_cache"):
            return None
        cache = network.new_cache(batch_size, seq_len)  # type: ignore[operator]
        network(Batch(input_ids=torch.zeros(batch_size, 1, dtype=torch.int64)), cache)
        return cache.num_bytes


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
