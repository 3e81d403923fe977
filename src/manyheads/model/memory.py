"""How much memory training and decoding take, found out without taking it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
    """Bytes that a training step's forward pass over packed rows leaves in memory, the batch's own included.

    `make` builds the network and the head; it is called on fake tensors, which have shapes and no memory. What is left is
    that of a CPU, where attention with dropout keeps its weights [B, H, T, S]; with `fused` it does not, as on a GPU (Dao
    et al. 2022, "FlashAttention", section 3.1). Positions are spread evenly over experts. What a compiler makes leaves
    less. A network that cuts packed rows up (`cuts_rows`) is counted over whole ones. With `recompute_every` (see
    `recompute_blocks`) the backward pass holds one block's activations at a time besides.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), _Shapes(fused):
        network, head = in_dtype(weights, make)
        if hasattr(network, "count"):  # what counts leaves nothing for a backward pass
            return 0
        network.train()
        head.train()
        whole = live_bytes(network, head, batch_size, seq_len, autocast)
        if recompute_every is None:
            return whole
        recompute_blocks(network, recompute_every)
        kept = live_bytes(network, head, batch_size, seq_len, autocast)
        return kept + (whole - kept) // max(1, len(repeated_blocks(network)) // recompute_every)


class _Known(NamedTuple):
    """In the place of a tensor whose numbers are asked for."""

    numbers: list[int]

    def tolist(self) -> list[int]:
        return self.numbers


class _Shapes(TorchFunctionMode):
    """Stands in for what shapes alone do not tell: how many positions go to each expert, and the kernels of a GPU."""

    def __init__(self, fused: bool = False) -> None:
        super().__init__()
        self.fused = fused

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = kwargs or {}
        if func is torch.bincount:
            count = settings["minlength"]
            return _Known([(args[0].numel() + i) // count for i in range(count)])
        if self.fused and func is F.scaled_dot_product_attention:
            # with dropout, a CPU has no kernel that is fused
            settings = {**settings, "dropout_p": 0.0}
        return func(*args, **settings)


def live_bytes(
    network: nn.Module, head: Head, batch_size: int, seq_len: int, autocast: torch.dtype | None = None
) -> int:
    """Bytes of the tensors that a training step's forward pass makes and that are still there at its end."""
    with _Made() as made, torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        ids = torch.zeros(batch_size, seq_len, dtype=torch.int64)
        batch = Batch(input_ids=ids, **{head.reads: head.blank(batch_size, seq_len)})  # type: ignore[typeddict-item]
        if not getattr(network, "cuts_rows", False):
            batch |= Batch(positions=ids.clone(), segments=torch.ones_like(ids))
        batch |= sources(network, batch_size, seq_len)
        total = head.objective(network(batch), batch).total
        auxiliary = network.auxiliary_losses(batch) if hasattr(network, "auxiliary_losses") else None  # type: ignore[operator]
        if auxiliary is not None:
            total = total + auxiliary.total
        assert total.requires_grad
        return made.alive()


RECURRENT = 16
"""Numbers that oneDNN, torch's kernels for a CPU, keeps for each state of an LSTM's layer, by measure: 15 to 17 for states
64 to 256 wide. On fake tensors it keeps none."""


class _Made(TorchDispatchMode):
    """Knows the storage of every tensor that is made, and keeps none of them."""

    def __init__(self) -> None:
        super().__init__()
        self._hidden = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mkldnn_rnn_layer.default and not found[3].numel():
            self._hidden += RECURRENT * _bytes(found[0])
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in inputs:
                self._storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return found

    def alive(self) -> int:
        return self._hidden + sum(size for storage, size in self._storages.values() if not storage.expired())


def cache_bytes(make: Callable[[], tuple[nn.Module, Head]], *, batch_size: int, seq_len: int) -> int | None:
    """Bytes of keys and values in decoding `batch_size` texts of `seq_len` tokens; None for a network without a cache.

    `make` is called on fake tensors, and a token is read, with room for the others.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), _Shapes(), torch.no_grad():
        network = make()[0].eval()
        if not hasattr(network, "new_cache") or network.kind == "bidirectional":
            return None
        cache = network.new_cache(batch_size, seq_len)  # type: ignore[operator]
        batch = Batch(input_ids=torch.zeros(batch_size, 1, dtype=torch.int64))
        network(batch | sources(network, batch_size, seq_len), cache)
        return cache.num_bytes


def sources(network: nn.Module, batch_size: int, length: int) -> Batch:
    """The sources that a batch needs besides, as long as its rows, with padding where shapes tell what is made of it; nothing
    for a network without an encoder before it, which has no `reads_sources`."""
    if not getattr(network, "reads_sources", False):
        return Batch()
    ids = torch.zeros(batch_size, length, dtype=torch.int64)
    if getattr(network, "cuts_rows", False):
        return Batch(source_ids=ids)
    return Batch(source_ids=ids, source_segments=torch.ones_like(ids))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
