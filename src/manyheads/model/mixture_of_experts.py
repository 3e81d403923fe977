"""A mixture of experts in the place of a feed-forward layer, and the losses that keep its router in balance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError, check_choice, check_count, check_range
from manyheads.head.base import Auxiliary, HeadOutput
from manyheads.model.feed_forward import Activation, FeedForward

BALANCE_OVER = ("batch", "row")


class Experts(nn.ModuleList):
    """Layers alike, of which a position uses a share."""

    active_share: float


class MixtureOfExperts(nn.Module):
    """Each position is sent to the experts that its router likes best, and gets their weighted sum; [B, T, D] -> [B, T, D].

    With E experts, of which k are chosen: weights softmax(router(x)) over the chosen k alone (Jiang et al. 2024, Mixtral,
    section 2.1); for k = 1 the probability among all E, since the other would always be 1 and teach the router nothing
    (Fedus et al. 2022, Switch Transformer, equation 2). No position is dropped, and none influences another, so padding
    and caches need no care. Every expert is run, if only on nothing, so that no parameter lacks a gradient on one rank.
    """

    part: ClassVar[str] = "router"

    def __init__(
        self, *, dim: int, ff_dim: int, activation: Activation, bias: bool, num_experts: int, experts_per_token: int
    ) -> None:
        super().__init__()
        self.experts_per_token = experts_per_token
        self.router = nn.Linear(dim, num_experts, bias=False)
        self.experts = Experts(
            FeedForward(dim=dim, ff_dim=ff_dim, activation=activation, bias=bias) for _ in range(num_experts)
        )
        self.experts.active_share = experts_per_token / num_experts
        self._expected = False
        self._logits: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)  # [N, D]
        logits = self._route(rows)  # [N, E]
        weights, chosen = route(logits, self.experts_per_token)
        order = chosen.flatten().argsort(stable=True)  # [N k] the choices, sorted by expert
        counts = torch.bincount(chosen.flatten(), minlength=len(self.experts)).tolist()
        parts = rows[order // self.experts_per_token].split(counts)
        outputs = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        found = outputs[back].unflatten(0, chosen.shape)  # [N, k, D]
        if self._expected:
            # once: activation checkpointing runs a layer twice, and would keep alive what it makes anew
            self._logits, self._expected = logits.unflatten(0, x.shape[:-1]), False
        return (found * weights.to(found.dtype).unsqueeze(-1)).sum(1).view(x.shape)

    def expect(self) -> None:
        """Keeps the router's logits of the next forward pass for `take_logits`."""
        self._logits, self._expected = None, True

    def take_logits(self) -> Tensor:
        """The router's logits [B, T, E] of the forward pass that was expected."""
        logits, self._logits, self._expected = self._logits, None, False
        assert logits is not None, "the losses of a router are asked for once, after a training step's forward pass"
        return logits

    def _route(self, rows: Tensor) -> Tensor:
        logits = self.router(rows)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def route(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The weights [N, k] and the numbers [N, k] of the experts that are chosen by logits [N, E]; see MixtureOfExperts."""
    weights, chosen = logits.softmax(-1).topk(count, dim=-1)
    return weights if count == 1 else weights / weights.sum(-1, keepdim=True), chosen


class Balance(NamedTuple):
    """What a network adds to its training loss for its routers; each a mean over layers, so that depth changes nothing."""

    experts_per_token: int
    load_balance: float  # the factor of `load_balance`
    router_z_loss: float  # the factor of `router_z_loss`
    over: str  # batch or row

    def losses(self, layers: Sequence[MixtureOfExperts], batch: Batch) -> Auxiliary:
        """The losses of the batch that the layers have just read. They count where a label is learned, so never padding."""
        learned = batch["labels"] != IGNORE  # type: ignore[typeddict-item]
        count = learned.sum()
        logits = [layer.take_logits() for layer in layers]
        even = self._mean(
            [load_balance(one, learned, self.experts_per_token, by_row=self.over == "row") for one in logits]
        )
        total, terms = self.load_balance * even, {"load_balance": HeadOutput(even, count)}
        if self.router_z_loss:
            squares = self._mean([router_z_loss(one, learned) for one in logits])
            total, terms["router_z_loss"] = total + self.router_z_loss * squares, HeadOutput(squares, count)
        return Auxiliary(total, terms)

    @staticmethod
    def _mean(sums: list[Tensor]) -> Tensor:
        return torch.stack(sums).mean()


def load_balance(logits: Tensor, learned: Tensor, count: int, *, by_row: bool) -> Tensor:
    """E sum_i f_i P_i times the positions it is over, [], for logits [B, T, E] and `learned` [B, T].

    f_i is how many choices fall on expert i per position, P_i its mean probability: `count` when all is even, up to E
    (Fedus et al. 2022, equations 4 to 6; with several choices as in Mixtral's code). Over the whole batch, or over each
    row (DeepSeek-AI 2024, DeepSeek-V3, equations 17 to 20, there divided by `count`).
    """
    if not by_row:
        logits, learned = logits.flatten(0, 1)[None], learned.flatten()[None]
    counted = learned.unsqueeze(-1)
    probabilities = logits.softmax(-1)
    chosen = torch.zeros_like(probabilities).scatter_(-1, probabilities.topk(count, dim=-1).indices, 1)
    positions = learned.sum(1, keepdim=True)  # [B, 1]
    fraction = (chosen * counted).sum(1) / positions.clamp(min=1)  # [B, E] f
    return logits.shape[-1] * (fraction * (probabilities * counted).sum(1)).sum()


def router_z_loss(logits: Tensor, learned: Tensor) -> Tensor:
    """The sum of (log sum exp x)^2 over learned positions, [] (Zoph et al. 2022, ST-MoE, equation 5)."""
    return logits.logsumexp(-1).square().where(learned, 0).sum()


def check_experts(num_experts: int | None, experts_per_token: int, factors: dict[str, float], over: str) -> None:
    """Raises UserError for settings of a mixture that do not fit together."""
    check_count("model.experts_per_token", experts_per_token)
    check_choice("model.balance_over", over, BALANCE_OVER)
    for key, value in factors.items():
        check_range(f"model.{key}", value, 0)
    if num_experts is None:
        return
    check_count("model.num_experts", num_experts)
    if experts_per_token > num_experts:
        raise UserError(
            f"model.experts_per_token={experts_per_token} is more than model.num_experts={num_experts}: "
            f"set it to at most {num_experts}, or model.num_experts higher."
        )
