"""How a network learns where a token stands: rotary, learned, sinusoidal, ALiBi, or not at all."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from manyheads.errors import UserError
from manyheads.model.rotary_scaling import Scaling, dynamic_base


class Rotation(NamedTuple):
    """The angles of rotary positions, ready to multiply with."""

    cos: Tensor  # [T, 1, K] or [B, T, 1, K] float32
    sin: Tensor  # the same; the first half of K with the opposite sign

    def rotate(self, x: Tensor) -> Tensor:
        """Turns each pair (i, i + K/2) of [B, T, H, K] by its angle; computed in float32, returned in x's precision."""
        return torch.addcmul(x * self.cos, x.roll(x.shape[-1] // 2, -1), self.sin).to(x.dtype)


class Positions(nn.Module, ABC):
    """Three places where positions can enter; each kind uses one of them, or none.

    Args:
        dim: D. head_dim: K. max_positions: how many there are; None for no limit. rotary_base, scaling: rotary only.
    """

    def __init__(
        self,
        *,
        dim: int,
        head_dim: int,
        max_positions: int | None,
        rotary_base: float,
        scaling: Scaling | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.head_dim = head_dim
        self.rotary_base = rotary_base
        self.scaling = scaling or Scaling()
        # not a buffer: it is not part of the weights, must stay float32 when they are cast, and grows on demand
        self._table: Tensor | None = None
        self.prepare(max_positions)

    def prepare(self, max_positions: int | None) -> None:
        """Checks the settings and makes weights."""

    @abstractmethod
    def add(self, embedded: Tensor, positions: Tensor | None, start: int) -> Tensor:
        """Adds to the embedded tokens [B, T, D]; `positions` is [B, T], or None for start..start+T-1 in every row."""

    @abstractmethod
    def rotation(self, positions: Tensor | None, start: int, num_new: int, device: torch.device) -> Rotation | None:
        """What turns queries and keys, or None."""

    def bias(self, num_new: int, num_keys: int, device: torch.device) -> Tensor | None:
        """What is added to the scores of the `num_new` newest of `num_keys` positions, [1, H, T, S] float32, or None."""
        return None

    def rows(self, positions: Tensor | None, start: int, num_new: int, device: torch.device) -> Tensor:
        """The rows of the fixed table for these positions, [T, W] or [B, T, W] float32. All positions are < start + T."""
        end = start + num_new
        table = self._table
        if table is None or len(table) < end or table.device != device:
            # a tensor made in inference mode could not serve a training step later
            with torch.inference_mode(False), torch.no_grad():
                table = self._table = self.fixed_table(1 << max(end - 1, 255).bit_length(), device)
        return table[start:end] if positions is None else table[positions]

    def fixed_table(self, length: int, device: torch.device) -> Tensor:
        """Positions 0..length-1 as rows [length, W] float32."""
        raise NotImplementedError


class NoPositions(Positions):
    """None at all: the causal mask alone tells order (Haviv et al. 2022)."""

    def add(self, embedded: Tensor, positions: Tensor | None, start: int) -> Tensor:
        return embedded

    def rotation(self, positions: Tensor | None, start: int, num_new: int, device: torch.device) -> None:
        return None


class Rotary(Positions):
    """Rotary positions: queries and keys are turned by position * base^(-2i/K) (Su et al. 2021, section 3.2.2).

    The pairs are (i, i + K/2), as in GPT-NeoX and the Hugging Face Llama, so weights need no reordering. `scaling` slows
    some of them down.
    """

    def prepare(self, max_positions: int | None) -> None:
        if self.head_dim % 2:
            raise UserError(
                f"model.positions=rotary turns pairs, but model.dim / model.num_heads is {self.head_dim}, an odd number: "
                "set another model.num_heads, or model.positions=learned."
            )

    def add(self, embedded: Tensor, positions: Tensor | None, start: int) -> Tensor:
        return embedded

    def rotation(self, positions: Tensor | None, start: int, num_new: int, device: torch.device) -> Rotation:
        if self.scaling.grows and start + num_new > self.scaling.original:
            assert start == 0, "a row whose angles depend on its length is read as a whole"
            rows = self._growing_rows(positions, num_new, device)
        else:
            rows = self.rows(positions, start, num_new, device)
        cos, sin = rows.unsqueeze(-2).chunk(2, -1)
        return Rotation(cos, sin)

    def fixed_table(self, length: int, device: torch.device) -> Tensor:
        plain = self.rotary_base ** (-self._twice_index(device) / self.head_dim)
        frequencies = self.scaling.frequencies(plain, self.rotary_base)
        return self._turns(torch.outer(torch.arange(length, device=device), frequencies))

    def _growing_rows(self, positions: Tensor | None, length: int, device: torch.device) -> Tensor:
        """What `rows` gives, with the angles that belong to the length of each position's segment."""
        if positions is None:
            places, lengths = torch.arange(length, device=device), torch.tensor(length, device=device)
        else:
            places, lengths = positions, _segment_lengths(positions)
        base = dynamic_base(self.rotary_base, lengths, self.scaling, self.head_dim).unsqueeze(-1)
        return self._turns(places.unsqueeze(-1) * base ** (-self._twice_index(device) / self.head_dim))

    def _twice_index(self, device: torch.device) -> Tensor:
        return torch.arange(0, self.head_dim, 2, dtype=torch.float32, device=device)  # the 2i of the paper

    def _turns(self, angles: Tensor) -> Tensor:
        cos, sin = angles.cos(), angles.sin()
        table = torch.cat((cos, cos, -sin, sin), -1)
        return table if self.scaling.amplitude == 1 else table * self.scaling.amplitude


def _segment_lengths(positions: Tensor) -> Tensor:
    """How long the segment of each position is, [B, T] int64: positions count from 0 in each."""
    segment = (positions == 0).cumsum(-1)
    last = positions.new_zeros(positions.shape[0], positions.shape[1] + 1).scatter_reduce_(
        1, segment, positions, "amax"
    )
    return last.gather(1, segment) + 1


class Learned(Positions):
    """A learned vector per position (Gehring et al. 2017; GPT-2)."""

    def prepare(self, max_positions: int | None) -> None:
        if max_positions is None:
            raise UserError(
                "model.positions=learned needs a table of known size: set model.max_positions, such as 1024."
            )
        self.table = nn.Embedding(max_positions, self.dim)

    def add(self, embedded: Tensor, positions: Tensor | None, start: int) -> Tensor:
        if positions is None:
            return embedded + self.table.weight[start : start + embedded.shape[1]]
        return embedded + self.table(positions)

    def rotation(self, positions: Tensor | None, start: int, num_new: int, device: torch.device) -> None:
        return None


class Sinusoidal(Positions):
    """sin and cos of position / 10000^(2i/D), on even and odd features (Vaswani et al. 2017, section 3.5)."""

    def add(self, embedded: Tensor, positions: Tensor | None, start: int) -> Tensor:
        rows = self.rows(positions, start, embedded.shape[1], embedded.device)
        return embedded + rows.to(embedded.dtype)

    def rotation(self, positions: Tensor | None, start: int, num_new: int, device: torch.device) -> None:
        return None

    def fixed_table(self, length: int, device: torch.device) -> Tensor:
        even = torch.arange(0, self.dim, 2, dtype=torch.float32, device=device)
        angles = torch.outer(torch.arange(length, device=device), torch.exp(even * (-math.log(10000.0) / self.dim)))
        return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)[:, : self.dim]


class Alibi(Positions):
    """Scores fall with distance: -slope * (i - j), a slope per head (Press et al. 2022, section 3).

    For 2^n heads the slopes are 2^(-8 k / 2^n), k = 1..2^n; for another number those of the power of two below it, then
    every other one of the power above it (the authors' code, get_slopes).
    """

    def add(self, embedded: Tensor, positions: Tensor | None, start: int) -> Tensor:
        return embedded

    def rotation(self, positions: Tensor | None, start: int, num_new: int, device: torch.device) -> None:
        return None

    def bias(self, num_new: int, num_keys: int, device: torch.device) -> Tensor:
        # a segment stands in neighbouring columns, so that within it distances of columns are those of positions
        keys = torch.arange(num_keys, device=device)
        distance = keys - keys[num_keys - num_new :, None]  # [T, S], 0 and below where a key may be seen
        slopes = torch.tensor(alibi_slopes(self.dim // self.head_dim), device=device)
        return slopes[None, :, None, None] * distance


def alibi_slopes(num_heads: int) -> list[float]:
    """The slope of each head."""
    power = 1 << (num_heads.bit_length() - 1)
    slopes = [2 ** (-8 * k / power) for k in range(1, power + 1)]
    return slopes + [2 ** (-4 * k / power) for k in range(1, 2 * (num_heads - power), 2)]


POSITIONS: dict[str, type[Positions]] = {
    "rotary": Rotary,
    "learned": Learned,
    "sinusoidal": Sinusoidal,
    "alibi": Alibi,
    "none": NoPositions,
}
