"""How well a network predicts given texts: every label counted once, whatever the windows and batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from manyheads.batch import IGNORE, Batch
from manyheads.data.packing import Segments, cut
from manyheads.decoding.reader import eval_mode
from manyheads.errors import check_count, check_range
from manyheads.head.base import Head


class Score(NamedTuple):
    """Sums over the texts, so that scores of several calls can be added."""

    loss_sum: float  # nats
    tokens: int  # labels: the tokens of the texts and one end token each
    bytes: int  # of the texts in UTF-8

    def __add__(self, other: Score) -> Score:  # type: ignore[override]
        """The score of both groups of texts together."""
        return Score(self.loss_sum + other.loss_sum, self.tokens + other.tokens, self.bytes + other.bytes)

    def __radd__(self, other: Score | int) -> Score:
        """Lets `sum` add scores, which begins with 0."""
        return self if isinstance(other, int) else other + self

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.loss_sum / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(sum of losses / tokens)."""
        return math.exp(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of raw text: comparable between tokenizers."""
        return self.loss_sum / math.log(2) / self.bytes


def score(
    network: nn.Module,
    head: Head,
    texts: Sequence[Sequence[int]],
    *,
    end_id: int,
    seq_len: int | None = None,
    stride: int | None = None,
    batch_size: int = 16,
) -> tuple[float, int]:
    """(sum of the losses in nats, number of labels) over texts of token ids; see `score_each`."""
    losses = score_each(network, head, texts, end_id=end_id, seq_len=seq_len, stride=stride, batch_size=batch_size)
    return float(losses.sum()), sum(len(text) + 1 for text in texts)


def score_each(
    network: nn.Module,
    head: Head,
    texts: Sequence[Sequence[int]],
    *,
    end_id: int,
    seq_len: int | None = None,
    stride: int | None = None,
    batch_size: int = 16,
) -> np.ndarray:
    """[N] the sum of the losses of each text in nats, float64, each read as a document of its own.

    As in training, the end token stands before each text and its end is predicted. Texts are cut into windows of
    `seq_len` (None: whole); with a `stride` below it the windows overlap, and of each only the labels that no earlier
    window had are counted. Raises UserError for a setting out of range.
    """
    check_count("batch_size", batch_size)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    tokens = np.array([end_id, *(token for text in texts for token in (*text, end_id))], dtype=np.int64)
    width = seq_len or int(np.diff(starts).max())
    if stride is not None:
        check_count("stride", stride)
        check_range("stride", stride, 1, width)
    windows = cut(starts, width, stride)
    order = np.argsort(-windows.length, kind="stable")
    found = np.zeros(len(texts))
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    with eval_mode(network, head), torch.inference_mode():
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            batch = _batch(tokens, windows, chosen, end_id, device)
            losses = head.losses(network(batch), batch).cpu().double().sum(-1).numpy()
            np.add.at(found, np.searchsorted(starts, windows.start[chosen], side="right") - 1, losses)
    return found


def _batch(tokens: np.ndarray, windows: Segments, chosen: np.ndarray, end_id: int, device: torch.device) -> Batch:
    """One window a row, the longest first, padded on the right."""
    lengths = windows.length[chosen]
    places = np.arange(lengths[0])[None, :]  # [1, T]
    real = places < lengths[:, None]  # [B, T]
    at = np.where(real, windows.start[chosen][:, None] + places, 0)
    counted = real & (places >= windows.skip[chosen][:, None])
    arrays = {"input_ids": np.where(real, tokens[at], end_id), "labels": np.where(counted, tokens[at + 1], IGNORE)}
    if not real.all():
        arrays |= {"segments": real.astype(np.int64), "positions": np.where(real, places, 0)}
    return Batch(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})  # type: ignore[typeddict-item]
