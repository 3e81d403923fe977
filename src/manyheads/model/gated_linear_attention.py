"""Linear attention with a gate on what is kept: a state that does not grow with the text, read step by step or in chunks."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.model.norm import RMSNorm

DAMPING = 16.0
"""What the logarithm of a gate is divided by, so that gates start near 1 (Yang et al. 2024, section 4.4)."""


class Run(NamedTuple):
    """What every layer is told of a batch."""

    begins: Tensor  # [B, T] or [1, T] int64, the place in this batch of the first token of each one's segment; below 0: before it
    before: Tensor | None  # [L, B, H, K, K], the states before the batch; None: nothing was read
    after: list[Tensor]  # each layer's state behind the batch
    cache: object | None  # that is being filled, if one is


class GatedLinearAttention(nn.Module):
    """y = W_o (norm(q S) * silu(W_g x)), where S = a S + k v^T goes on from position to position, and a = sigmoid(w x)^(1/16)
    is one number for each head (the gates of Yang et al. 2024, "Gated Linear Attention Transformers with Hardware-Efficient
    Training", sections 4.1 and 4.4, tied over a head's width as in Dao and Gu 2024, Mamba-2, section 5).

    Args:
        dim: D.
        num_heads: H; K = D / H is the width of queries, keys and values.
        eps: of the norm over each head's outputs.
        chunk: over how many positions the products are taken at once; between chunks goes the state alone (the same,
            section 4.3). It changes nothing but the time.
    """

    part: ClassVar[str] = "attention"

    def __init__(self, *, dim: int, num_heads: int, eps: float, chunk: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.chunk = chunk
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.decay = nn.Linear(dim, num_heads)
        self.gate = nn.Linear(dim, dim, bias=False)
        self.norm = RMSNorm(dim // num_heads, eps=eps)
        self.output = nn.Linear(dim, dim, bias=False)

    @torch.no_grad()
    def spread_decay(self) -> None:
        """Lets heads start with memories of 8 to 512 tokens: a = 1 - 2^-3 to 1 - 2^-9 (as Sun et al. 2023, RetNet, section 2.2,
        spread theirs from 2^-5 on)."""
        kept = 1 - 2.0 ** -torch.linspace(3, 9, self.num_heads, dtype=torch.float64, device=self.decay.bias.device)
        self.decay.bias.copy_(torch.logit(kept**DAMPING))

    def forward(self, x: Tensor, run: Run, layer: int) -> Tensor:
        """[B, T, D] -> [B, T, D]"""
        # sums over long texts: never in less than float32
        dtype = torch.promote_types(x.dtype, torch.float32)
        heads = (x.shape[0], x.shape[1], self.num_heads, -1)
        query, key, value = (
            made(x).view(heads).transpose(1, 2).to(dtype) for made in (self.query, self.key, self.value)
        )  # [B, H, T, K]
        log_decay = F.logsigmoid(self.decay(x).to(dtype)).transpose(1, 2) / DAMPING  # [B, H, T]
        with torch.autocast(x.device.type, enabled=False):
            before = None if run.before is None else run.before[layer].to(dtype)
            read, after = scan(
                query * query.shape[-1] ** -0.5, key, value, log_decay, run.begins, before, chunk=self.chunk
            )
        run.after.append(after)
        read = self.norm(read.transpose(1, 2).to(self.norm.weight.dtype)).flatten(2)
        return self.output(read.to(x.dtype) * F.silu(self.gate(x)))

    def further_flops(self, seq_len: int, training: bool) -> int:
        """Of one position, step by step: k v^T into the state, and q times it."""
        width = self.query.out_features
        return 4 * width * (width // self.num_heads)


def scan(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    log_decay: Tensor,
    begins: Tensor,
    before: Tensor | None = None,
    *,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """q_t S_t of S_t = a_t S_(t-1) + k_t v_t^T, where a segment begins with zeros; and the state behind the last position.

    Within a chunk it is the product of queries, decayed keys and values under a mask; all exponents are at most 0.

    Args:
        query, key, value: [B, H, T, K] each.
        log_decay: [B, H, T], the logarithms of a.
        begins: [B, T] or [1, T] int64, as in `Run`.
        before: [B, H, K, K], the state before the first position; None: zeros.
        chunk: positions at once.

    Returns:
        [B, H, T, K] and [B, H, K, K].
    """
    state, out = before, []
    for start in range(0, query.shape[2], chunk):
        part = slice(start, start + chunk)
        q, k, v, total = query[:, :, part], key[:, :, part], value[:, :, part], log_decay[:, :, part].cumsum(-1)
        begin = begins[:, part]
        place = torch.arange(start, start + q.shape[2], device=q.device)
        seen = (place <= place[:, None]) & (place >= begin[..., None])  # [B, T, T], of each what stands before it
        between = (total[..., None] - total[..., None, :]).masked_fill(~seen[:, None], -torch.inf).exp()
        found = ((q @ k.mT) * between) @ v
        last = begin[:, -1, None]  # of the chunk's last token
        left = (total[..., -1:] - total).exp() * (place >= last)[:, None]  # [B, H, T]
        new = (k * left[..., None]).mT @ v
        if state is not None:
            goes_on = total.exp() * (begin < start)[:, None]
            found = found + (q * goes_on[..., None]) @ state
            new = new + state * goes_on[..., -1, None, None]
        state = new
        out.append(found)
    assert state is not None, "a batch has a position at least"
    return torch.cat(out, 2), state
