"""The next-token loss in chunks, with its gradients: the logits of a batch never exist as a whole."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from manyheads.batch import IGNORE

CHUNK_LOGITS = {"cpu": 2**22}
"""How many logits are made at once, by the kind of device: 16 MB in float32, read twice by a CPU's multiplication."""
OTHER_CHUNK_LOGITS = 2**26


Gradients = tuple[Tensor | None, ...]


class Sums(NamedTuple):
    """Sums over the labels that are not IGNORE, each [] in float32 (float64 for a float64 network)."""

    objective: Tensor  # smoothed + z_loss * squares; the only one with gradients
    loss: Tensor  # cross-entropies, in nats
    smoothed: Tensor  # cross-entropies with smoothed labels, in nats
    squares: Tensor  # of log Z, the logarithm of the sum of the exponentials of a position's logits


class Terms(NamedTuple):
    """What there is beside the plain cross-entropy."""

    z_loss: float
    smoothing: float
    softcap: float | None


def chunk_rows(vocab_size: int, device: torch.device) -> int:
    """How many positions make a chunk."""
    return max(1, CHUNK_LOGITS.get(device.type, OTHER_CHUNK_LOGITS) // vocab_size)


def chunked_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    *,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
    softcap: float | None = None,
) -> Sums:
    """Cross-entropy of softmax(hidden weight^T + bias) for labels [N]; hidden [N, D], weight [V, D], bias [V].

    With x the logits of a position, log Z = log sum exp x, and e = label_smoothing, a label y costs
    log Z - (1 - e) x_y - e mean(x) + z_loss (log Z)^2 (Szegedy et al. 2016, section 7; z-loss: Chowdhery et al. 2022,
    PaLM, section 5, after de Brebisson and Vincent 2016). Its gradient by x, which is
    softmax(x) (1 + 2 z_loss log Z) - (1 - e) onehot(y) - e / V, is made beside the loss: no logit is made twice. With
    c = softcap, x = c tanh(u / c) of the plain logits u, and dx / du = 1 - (x / c)^2. Gradients can be asked for once, and
    have none of their own.

    Against F.linear_cross_entropy (torch 2.13), which has neither z-loss nor smoothing in chunks and leaves autocast out,
    see benchmarks/large_vocabulary.py.
    """
    return Sums(*_Chunked.apply(hidden, weight, bias, labels, Terms(z_loss, label_smoothing, softcap)))  # type: ignore[misc]


class _Chunked(Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        terms: Terms,
    ) -> tuple[Tensor, ...]:
        dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        kind = hidden.device.type
        if torch.is_autocast_enabled(kind):
            lower = torch.get_autocast_dtype(kind)
            hidden, weight, bias = hidden.to(lower), weight.to(lower), None if bias is None else bias.to(lower)
        with torch.autocast(kind, enabled=False):
            return _run(ctx, dtypes, (hidden, weight, bias), labels, terms)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *factors: Tensor) -> Gradients:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert ctx.gradients is not None, "the gradients of a chunked loss can be asked for once"
        # in place: a second [V, D] would be as large as what the chunks save
        found = [None if g is None else g.mul_(factors[0]).to(dtype) for g, dtype in ctx.gradients]
        ctx.gradients = None
        return *found, None, None


def _run(
    ctx: Any,
    dtypes: tuple[torch.dtype | None, ...],
    inputs: tuple[Tensor, Tensor, Tensor | None],
    labels: Tensor,
    terms: Terms,
) -> tuple[Tensor, ...]:
    hidden, weight, bias = inputs
    wide = torch.promote_types(hidden.dtype, torch.float32)
    wanted = ctx.needs_input_grad[:3]
    by_hidden = torch.empty_like(hidden) if wanted[0] else None
    by_weight = torch.zeros_like(weight, dtype=wide) if wanted[1] else None
    by_bias = torch.zeros(len(weight), dtype=wide, device=weight.device) if wanted[2] else None
    sums = torch.zeros(3, dtype=wide, device=hidden.device)
    size = chunk_rows(len(weight), hidden.device)
    for start in range(0, len(labels), size):
        rows = slice(start, start + size)
        gradient, part = _chunk(F.linear(hidden[rows], weight, bias).to(wide), labels[rows], terms)
        sums += part
        if by_bias is not None:
            by_bias += gradient.sum(0)
        narrow = gradient.to(hidden.dtype)
        if by_hidden is not None:
            torch.mm(narrow, weight, out=by_hidden[rows])
        if by_weight is not None:
            _add_product(by_weight, narrow.T, hidden[rows])
    ctx.gradients = list(zip((by_hidden, by_weight, by_bias), dtypes, strict=True))
    loss, smoothed, squares = sums.unbind()
    logged = (loss, smoothed, squares)
    ctx.mark_non_differentiable(*logged)
    return smoothed + terms.z_loss * squares, *logged


def _chunk(logits: Tensor, labels: Tensor, terms: Terms) -> tuple[Tensor, Tensor]:
    """The gradient by the plain logits [N, V], in their place, and (loss, smoothed, squares) [3]."""
    z_loss, smoothing, softcap = terms
    slope = None
    if softcap is not None:
        logits.div_(softcap).tanh_()
        slope = 1 - logits.square()
        logits.mul_(softcap)
    learned = labels != IGNORE  # [N]
    index = labels.where(learned, 0).unsqueeze(1)  # [N, 1]
    log_z = logits.logsumexp(-1)  # [N]
    chosen = logits.gather(1, index).squeeze(1)
    loss = (log_z - chosen).where(learned, 0).sum()
    smoothed = loss
    if smoothing:
        mean = (log_z - logits.mean(-1)).where(learned, 0).sum()
        smoothed = (1 - smoothing) * loss + smoothing * mean
    squares = log_z.square().where(learned, 0).sum()
    gradient = logits.sub_(log_z.unsqueeze(1)).exp_()
    if z_loss:
        gradient.mul_((1 + 2 * z_loss * log_z).unsqueeze(1))
    if smoothing:
        gradient.sub_(smoothing / logits.shape[1])
    gradient.scatter_add_(1, index, torch.full_like(index, smoothing - 1, dtype=gradient.dtype))
    gradient.masked_fill_(~learned.unsqueeze(1), 0)
    if slope is not None:
        gradient.mul_(slope)
    return gradient, torch.stack([loss, smoothed, squares])


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right; half precision is added up in float32."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
