"""Rotary angles for rows that are longer than those a network was made for: which pairs turn more slowly, and how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from manyheads.errors import UserError, check_choice, check_count, check_range
from manyheads.model.checks import check_positive

NEEDED = {"rotary_factor": "8, how many times longer rows may be", "original_max_positions": "2048"}
"""The settings without a default, and an example of each."""

BOUNDS = ("rotary_slow", "rotary_fast")


class Scaling(NamedTuple):
    """The numbers of one kind. Turns are counted over the `original` positions."""

    kind: str = "none"
    factor: float = 1.0  # how many times longer rows may be
    original: int = 0  # positions before scaling; 0 for the kinds that do not ask
    slow: float = 0.0  # pairs of fewer turns are slowed by the whole factor
    fast: float = 0.0  # pairs of more turns are left as they are

    @property
    def amplitude(self) -> float:
        """What queries and keys are multiplied by."""
        return SCALINGS[self.kind].amplitude(self.factor)

    @property
    def bounds(self) -> dict[str, float]:
        """`rotary_slow` and `rotary_fast`, where the kind has them."""
        pairs = zip(BOUNDS, (self.slow, self.fast), strict=True)
        return {key: value for key, value in pairs if key in SCALINGS[self.kind].uses}

    @property
    def grows(self) -> bool:
        """Whether angles depend on the length of the row."""
        return SCALINGS[self.kind].grows

    def frequencies(self, plain: Tensor, base: float) -> Tensor:
        """The angle between neighbouring positions of each pair, [K/2], out of those without scaling."""
        return SCALINGS[self.kind].scale(plain, base, self)


class Kind(NamedTuple):
    """What tells one kind of scaling from another."""

    scale: Callable[[Tensor, float, Scaling], Tensor]
    uses: tuple[str, ...]  # which of the settings
    fast: float = 0.0  # the default of `rotary_fast`
    amplitude: Callable[[float], float] = lambda factor: 1.0
    grows: bool = False


def _plain(plain: Tensor, base: float, scaling: Scaling) -> Tensor:
    return plain


def _linear(plain: Tensor, base: float, scaling: Scaling) -> Tensor:
    """All positions divided by the factor (Chen et al. 2023, "Extending context window of large language models via
    positional interpolation", section 2.3)."""
    return plain / scaling.factor


def _yarn(plain: Tensor, base: float, scaling: Scaling) -> Tensor:
    """Slow pairs interpolated, fast ones kept (Peng et al. 2023, "YaRN", section 3.2).

    Between the bounds the share falls evenly with the pair's index, and the bounds are whole indices, as in the authors'
    code and in the checkpoints trained with it; definition 2 of the paper lets it fall with the number of turns.
    """
    width = 2 * len(plain)

    def index(turns: float) -> float:
        return width * math.log(scaling.original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(index(scaling.fast)), 0), min(math.ceil(index(scaling.slow)), width - 1)
    pairs = torch.arange(len(plain), dtype=plain.dtype, device=plain.device)
    slowed = ((pairs - low) / max(high - low, 1e-3)).clamp(0, 1)
    return plain * (1 - slowed) + plain / scaling.factor * slowed


def _llama3(plain: Tensor, base: float, scaling: Scaling) -> Tensor:
    """The same in the number of turns (Peng et al. 2023, definition 2), without a change of amplitude: Llama 3.1's
    reference code (llama-models, apply_scaling)."""
    turns = scaling.original * plain / (2 * math.pi)
    kept = ((turns - scaling.slow) / (scaling.fast - scaling.slow)).clamp(0, 1)
    return plain * (kept + (1 - kept) / scaling.factor)


def dynamic_base(base: float, lengths: Tensor, scaling: Scaling, head_dim: int) -> Tensor:
    """The base of the angles in rows of these lengths: base (s n / L - (s - 1))^(K / (K - 2)), n the length or L.

    "Dynamic NTK" (Peng et al. 2023, sections 3.1 and 3.3), with a factor s as in transformers; s = 1 is the paper's.
    """
    longer = lengths.clamp(min=scaling.original) / scaling.original
    return base * (scaling.factor * longer - (scaling.factor - 1)) ** (head_dim / (head_dim - 2))


SCALINGS: dict[str, Kind] = {
    "none": Kind(_plain, uses=()),
    "linear": Kind(_linear, uses=("rotary_factor",)),
    "dynamic": Kind(_plain, uses=tuple(NEEDED), grows=True),
    # sqrt(1/t) = 0.1 ln s + 1: Peng et al. 2023, section 3.4
    "yarn": Kind(_yarn, uses=(*NEEDED, *BOUNDS), fast=32.0, amplitude=lambda factor: 0.1 * math.log(factor) + 1),
    "llama3": Kind(_llama3, uses=(*NEEDED, *BOUNDS), fast=4.0),
}


def check_scaling(settings: Mapping[str, Any]) -> Scaling:
    """The scaling out of a network's settings. Raises UserError where a number is missing, out of range or of no use."""
    choice = settings["rotary_scaling"]
    check_choice("model.rotary_scaling", choice, SCALINGS)
    kind = SCALINGS[choice]
    for key in (*NEEDED, *BOUNDS):
        if settings[key] is not None and key not in kind.uses:
            fitting = ", ".join(other for other, its in SCALINGS.items() if key in its.uses)
            raise UserError(
                f"model.{key}={settings[key]} has no use with model.rotary_scaling={choice}: "
                f"set model.rotary_scaling to one of {fitting}, or model.{key}=null."
            )
    if not kind.uses:
        return Scaling()
    _check_numbers(settings, kind)
    return Scaling(
        kind=choice,
        factor=float(settings["rotary_factor"]),
        original=settings["original_max_positions"] or 0,
        slow=1.0 if settings["rotary_slow"] is None else float(settings["rotary_slow"]),
        fast=kind.fast if settings["rotary_fast"] is None else float(settings["rotary_fast"]),
    )


def _check_numbers(settings: Mapping[str, Any], kind: Kind) -> None:
    choice = settings["rotary_scaling"]
    if settings["positions"] != "rotary":
        raise UserError(
            f"model.rotary_scaling={choice} needs rotary positions, and model.positions={settings['positions']}: "
            "set model.positions=rotary, or model.rotary_scaling=none."
        )
    for key, example in NEEDED.items():
        if settings[key] is None and key in kind.uses:
            raise UserError(f"model.rotary_scaling={choice} needs model.{key}: set it, such as to {example}.")
    check_range("model.rotary_factor", settings["rotary_factor"], 1)
    if settings["original_max_positions"] is not None:
        check_count("model.original_max_positions", settings["original_max_positions"])
    if settings["rotary_base"] <= 1:
        raise UserError(f"model.rotary_base={settings['rotary_base']}: set a number above 1 to scale its angles.")
    if kind.grows and settings["dim"] // settings["num_heads"] == 2:
        raise UserError(
            f"model.rotary_scaling={choice} needs heads wider than 2: set model.num_heads below {settings['num_heads']}."
        )
    _check_bounds(settings, kind)


def _check_bounds(settings: Mapping[str, Any], kind: Kind) -> None:
    slow = 1.0 if settings["rotary_slow"] is None else settings["rotary_slow"]
    fast = kind.fast if settings["rotary_fast"] is None else settings["rotary_fast"]
    check_positive("model.rotary_slow", slow)
    if "rotary_fast" in kind.uses and not slow < fast:
        raise UserError(f"model.rotary_slow={slow} is not below model.rotary_fast={fast}: set a smaller rotary_slow.")
