"""How the next token is chosen from its logits: strategies that bend the logits, then greedy choice or one draw."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from manyheads.errors import UserError, check_count, check_range

NEVER = float("-inf")
COLDEST = 1e-6  # below this temperature, differences of float32's resolution decide alone: greedy
DIVERGED = "The network's logits are not finite: this checkpoint's training had diverged. Use an earlier one."
BELOW_ONE = 1.0 - 2.0**-40  # times a draw in [0, 1): the product with a total stays below the total after rounding


class Warp(abc.ABC):
    """Bends logits [B, V] before a token is drawn. A token that must not be drawn gets -inf."""

    uses_seen = False

    @abc.abstractmethod
    def __call__(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        """New logits [B, V] from float32 logits [B, V] and, for warps with `uses_seen`, which tokens the row holds [B, V] bool."""


@final
@dataclass(frozen=True, kw_only=True)
class RepetitionPenalty(Warp):
    """Logits of tokens that the row already holds are divided by `penalty` where positive, multiplied where negative.

    Source: Keskar et al. 2019, CTRL (arXiv 1909.05858), section 4.1; the sign rule is that of transformers'
    RepetitionPenaltyLogitsProcessor, without which a negative logit would be raised.
    """

    penalty: float
    uses_seen = True

    def __call__(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        assert seen is not None
        bent = torch.where(logits > 0, logits / self.penalty, logits * self.penalty)
        return torch.where(seen, bent, logits)


@final
@dataclass(frozen=True, kw_only=True)
class Temperature(Warp):
    """Logits divided by `temperature` (Ackley, Hinton and Sejnowski 1985, section 2): below 1 sharper, above 1 flatter."""

    temperature: float

    def __call__(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        return (logits - logits.amax(-1, keepdim=True)) / self.temperature  # shifted, so that nothing overflows


@final
@dataclass(frozen=True, kw_only=True)
class TopK(Warp):
    """Only the `k` most likely tokens (Fan et al. 2018, arXiv 1805.04833, section 5.4); of equals the lower ids stay."""

    k: int

    def __call__(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        if self.k >= logits.shape[-1]:
            return logits
        order = logits.sort(dim=-1, descending=True, stable=True).indices  # [B, V]
        return logits.scatter(-1, order[:, self.k :], NEVER)


@final
@dataclass(frozen=True, kw_only=True)
class TopP(Warp):
    """The smallest set of most likely tokens whose probabilities reach `p` (Holtzman et al. 2019, arXiv 1904.09751, section 3.1)."""

    p: float

    def __call__(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        sorted_logits, order = logits.sort(dim=-1, descending=True, stable=True)  # [B, V]
        probabilities = sorted_logits.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        outside = before >= self.p
        outside[:, 0] = False
        return logits.scatter(-1, order, sorted_logits.masked_fill(outside, NEVER))


@final
@dataclass(frozen=True, kw_only=True)
class MinP(Warp):
    """Only tokens at least `p` times as likely as the likeliest one (Nguyen et al. 2024, arXiv 2407.01082, section 3)."""

    p: float

    def __call__(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        probabilities = logits.softmax(-1)
        return logits.masked_fill(probabilities < self.p * probabilities.amax(-1, keepdim=True), NEVER)


@final
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What is done to the logits, in this order, and whether the likeliest token is taken or one is drawn."""

    warps: tuple[Warp, ...] = ()
    greedy: bool = False

    @property
    def uses_seen(self) -> bool:
        """Whether a warp asks which tokens a row already holds."""
        return any(warp.uses_seen for warp in self.warps)

    def probabilities(self, logits: Tensor, seen: Tensor | None = None) -> Tensor:
        """The distribution that is drawn from: [B, V] float32 from logits [B, V] of any float type and `seen` [B, V] bool."""
        return self._bend(logits, seen).softmax(-1)

    def choose(self, logits: Tensor, draws: Tensor | None, seen: Tensor | None = None) -> Tensor:
        """The next tokens [B] int64 on the CPU.

        `draws` [B] float64 in [0, 1) on the CPU are turned into tokens by the inverse of the cumulative distribution, so
        that one number decides a row's token: the same on every device, whatever else is in the batch. Greedy choice
        takes no draws, and of equally likely tokens the lowest id.
        """
        if self.greedy:
            return self._bend(logits, seen).argmax(-1).cpu()
        assert draws is not None
        cumulative = self.probabilities(logits, seen).cpu().double().cumsum(-1)  # [B, V]
        if not cumulative[:, -1].isfinite().all():
            raise UserError(DIVERGED)
        wanted = draws[:, None] * BELOW_ONE * cumulative[:, -1:]
        return torch.searchsorted(cumulative, wanted, right=True).squeeze(-1)

    def _bend(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        bent = logits.float()
        for warp in self.warps:
            bent = warp(bent, seen)
        return bent


GREEDY = Sampling(greedy=True)
"""Always the likeliest token."""


def sampling(
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
) -> Sampling:
    """The strategy that these settings describe, in the order: repetition penalty, temperature, top-k, top-p, min-p.

    Temperature 0 (below 1e-6) is greedy: the likeliest token after the repetition penalty; the other settings cannot
    change it then.
    Raises UserError for a value out of range.
    """
    check_range("temperature", temperature, 0)
    check_range("repetition_penalty", repetition_penalty, 0)
    if repetition_penalty == 0:
        raise UserError("repetition_penalty=0: set a number above 0; 1 is no penalty.")
    warps: list[Warp] = []
    if repetition_penalty != 1:
        warps.append(RepetitionPenalty(penalty=repetition_penalty))
    greedy = temperature < COLDEST
    if not greedy and temperature != 1:
        warps.append(Temperature(temperature=temperature))
    warps += _truncations(top_k, top_p, min_p)
    return Sampling(warps=tuple(warps), greedy=greedy)


def _truncations(top_k: int | None, top_p: float | None, min_p: float | None) -> list[Warp]:
    warps: list[Warp] = []
    if top_k is not None:
        check_count("top_k", top_k)
        warps.append(TopK(k=top_k))
    if top_p is not None:
        check_range("top_p", top_p, 0, 1)
        warps += [TopP(p=top_p)] if top_p < 1 else []  # at 1, rounding would cut the tail
    if min_p is not None:
        check_range("min_p", min_p, 0, 1)
        warps.append(MinP(p=min_p))
    return warps
