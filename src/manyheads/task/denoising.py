"""Denoising: learn to mend texts that were corrupted, as T5 and BART do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, final

import numpy as np
from torch import nn

from manyheads.batch import Batch
from manyheads.data.corruption import (
    Tokens,
    infilling_spans,
    most_noise,
    most_spans,
    noise_spans,
    shuffled_sentences,
    with_masks,
    with_sentinels,
)
from manyheads.data.source import Source
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.loss import Loss
from manyheads.metric.perplexity import Perplexity
from manyheads.task.altered_texts import AlteredTexts
from manyheads.task.base import Prediction
from manyheads.task.layouts import LAYOUTS, PLACE, Layout
from manyheads.task.mending import mended
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.pieces import first_and_later
from manyheads.tokenizer.special import MASK, ids_of, with_special


class Noise(NamedTuple):
    """How much of a text is corrupted; None: as much as the objective's paper does."""

    rate: float | None
    mean_span: float
    sentinels: int
    permute_sentences: bool


class Objective(ABC):
    """What becomes of a text, and what is to be written then."""

    @abstractmethod
    def __init__(self, tokenizer: Tokenizer, noise: Noise, seq_len: int) -> None: ...

    @abstractmethod
    def sizes(self, length: int) -> tuple[int, int]:
        """Tokens of (what is read, what is written) of a text of so many, both without end tokens."""

    @abstractmethod
    def corrupt(self, tokens: Tokens, random: np.random.Generator) -> tuple[Tokens, Tokens]:
        """(what is read, what is written) of the tokens of a text, both without end tokens."""

    @abstractmethod
    def masks(self, count: int, row: int) -> Sequence[int]:
        """What stands in the place of each of so many hidden parts of the text of a row. Raises UserError for too many."""

    @abstractmethod
    def mended(self, source: Sequence[int], written: Sequence[int]) -> list[int]:
        """The tokens of the whole text, given what was read and what was written for it; undoes `corrupt`, but for the order
        of sentences."""


@final
class T5(Objective):
    """Spans give way to sentinels, and are written behind them: see `noise_spans` and `with_sentinels`."""

    def __init__(self, tokenizer: Tokenizer, noise: Noise, seq_len: int) -> None:
        self.rate, self.mean_span = 0.15 if noise.rate is None else noise.rate, noise.mean_span
        self.sentinels = ids_of(tokenizer, sentinels(noise.sentinels))
        needed = most_spans(seq_len, self.rate, self.mean_span) + 1 if seq_len > 1 else 1
        if needed > noise.sentinels:
            raise UserError(
                f"task.sentinels={noise.sentinels}: rows of task.seq_len={seq_len} need {needed}. Set task.sentinels={needed}, "
                "or a smaller task.seq_len."
            )

    def sizes(self, length: int) -> tuple[int, int]:
        if length < 2:
            return length, 1
        noise, spans = most_noise(length, self.rate), most_spans(length, self.rate, self.mean_span)
        return length - noise + spans, noise + spans + 1

    def corrupt(self, tokens: Tokens, random: np.random.Generator) -> tuple[Tokens, Tokens]:
        return with_sentinels(tokens, noise_spans(len(tokens), self.rate, self.mean_span, random), self.sentinels)

    def masks(self, count: int, row: int) -> Sequence[int]:
        most = len(self.sentinels) - 1  # the last one ends what is written
        if count > most:
            raise UserError(f"row {row} has {count} masks, and this network learned {most} at most. Give it in parts.")
        return self.sentinels[:count]

    def mended(self, source: Sequence[int], written: Sequence[int]) -> list[int]:
        """A span that was not written is left out; of two behind the same sentinel the first counts."""
        spans: dict[int, list[int]] = {}
        span = list[int]()  # what is written before any sentinel belongs nowhere
        for token in written:
            if token in self.sentinels:
                span = list[int]()
                spans.setdefault(token, span)
            else:
                span.append(token)
        return [part for token in source for part in (spans.get(token, []) if token in self.sentinels else [token])]


@final
class Bart(Objective):
    """Sentences are shuffled and spans give way to a mask; all of the text is written: see `infilling_spans`."""

    def __init__(self, tokenizer: Tokenizer, noise: Noise, seq_len: int) -> None:
        self.rate, self.mean_span = 0.3 if noise.rate is None else noise.rate, noise.mean_span
        (self.mask_id,) = ids_of(tokenizer, [MASK])
        self.ends = None
        if noise.permute_sentences:
            self.ends = np.array([text.rstrip().endswith(b".") for text in first_and_later(tokenizer)[1]])  # [V]

    def sizes(self, length: int) -> tuple[int, int]:
        return (
            length,
            length,
        )  # spans without a token, each of which adds a mask, are few beside those that take some away

    def corrupt(self, tokens: Tokens, random: np.random.Generator) -> tuple[Tokens, Tokens]:
        source = tokens if self.ends is None else shuffled_sentences(tokens, self.ends[tokens], random)
        return with_masks(source, infilling_spans(len(source), self.rate, self.mean_span, random), self.mask_id), tokens

    def masks(self, count: int, row: int) -> Sequence[int]:
        return [self.mask_id] * count

    def mended(self, source: Sequence[int], written: Sequence[int]) -> list[int]:
        """What was written."""
        return list(written)


OBJECTIVES: dict[str, type[Objective]] = {"t5": T5, "bart": Bart}


def sentinels(count: int) -> list[str]:
    """The names of the tokens that stand for dropped spans."""
    return [f"<|span_{number}|>" for number in range(count)]


@final
class Denoising(AlteredTexts):
    """Reads corrupted texts and writes what sets them right; losses are over what is written alone.

    An encoder-decoder reads the corrupted text, with an end token behind it, with its encoder. A network that reads from left
    to right reads it between two end tokens, and what is written follows. Each piece of text is a row; rows of a batch are
    about equally long. Validation and test corrupt each row in one way, drawn from the seed and the row.

    What is written holds sentinels and no more than a part of the text (T5), or comes after most of it was read (BART): its
    nats per byte of text would say nothing, so there are no bits per byte.

    Args:
        source, tokenizer, seed, batch_size, eval_batch_size, seq_len, num_workers, shuffle: see `TextRows`; `seq_len` counts
            tokens of text before they are corrupted. The tokenizer gets the special tokens of the objective.
        kind: of the network.
        objective: t5 drops spans and writes them (Raffel et al. 2020, section 3.1.4); bart hides spans, shuffles sentences and
            writes the whole text (Lewis et al. 2020, section 2.2).
        noise_rate: the share of the tokens in spans; None: 0.15 (T5), 0.3 (BART: section 5).
        mean_span: tokens in a span, on average (3 in both papers); of T5 exactly, but for rounding.
        sentinels: how many T5's tokenizer gets (100, as T5 has).
        permute_sentences: whether BART's sentences are shuffled; a token that ends in a full stop is the last of one.

    Raises:
        UserError: a number is out of range, or rows need more sentinels than there are.
    """

    heads = frozenset({"NextToken"})
    metrics = (Loss, Perplexity, Accuracy)
    monitor = "val/loss"

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        kind: str,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        seq_len: int = 256,
        num_workers: int = 0,
        shuffle: bool = True,
        objective: Literal["t5", "bart"] = "t5",
        noise_rate: float | None = None,
        mean_span: float = 3.0,
        sentinels: int = 100,
        permute_sentences: bool = True,
    ) -> None:
        check_range("task.noise_rate", 0.15 if noise_rate is None else noise_rate, 0, 1)
        check_range("task.mean_span", mean_span, 1)
        check_range("task.sentinels", sentinels, 1)
        super().__init__(
            source=source, tokenizer=with_special(tokenizer, special_names(objective, sentinels)), seed=seed,
            batch_size=batch_size, eval_batch_size=eval_batch_size, seq_len=seq_len, pack=False, num_workers=num_workers,
            shuffle=shuffle,
        )  # fmt: skip
        noise = Noise(noise_rate, mean_span, sentinels, permute_sentences)
        self.settings = [objective, kind, noise_rate, mean_span, permute_sentences]
        made = OBJECTIVES[objective](self.tokenizer, noise, seq_len)
        self.denoise = Denoise(made, LAYOUTS[kind](self.tokenizer, PLACE), self.tokenizer.end_id, before=BEFORE[kind])
        self.alter = self.denoise
        self.longest = self.denoise.longest(seq_len)

    @property
    def first_try(self) -> str | None:
        return f"predict {{run}} 'input.text=\"The function returns the {MASK}.\"'"

    def answers(self, network: nn.Module, head: Head) -> Iterator[Prediction]:
        """What a trained network makes of the texts of the test split, in which masks are written, in order."""
        return mended(self, network, head)

    def check_positions(self, most: int) -> None:
        if self.longest > most:
            raise UserError(
                f"task.seq_len={self.seq_len}: what is read and written of such rows takes up to {self.longest} positions, and "
                f"the network has {most}. Set a smaller task.seq_len, or model.max_positions={self.longest}."
            )


def special_names(objective: str, count: int) -> list[str]:
    """The special tokens that an objective needs."""
    return {"t5": sentinels(count), "bart": [MASK]}[objective]


BEFORE = {"encoder-decoder": False, "causal": True, "counting": True}
"""Whether an end token stands before the corrupted text, by the kind of the network."""


@final
class Denoise:
    """Makes a batch of sources and targets of a batch of plain rows."""

    def __init__(self, objective: Objective, layout: Layout, end_id: int, *, before: bool) -> None:
        self.objective = objective
        self.layout = layout
        self.end_id = end_id
        self.before = [end_id] if before else []

    def longest(self, length: int) -> int:
        """Positions that a row of so many tokens takes at most."""
        source, target = self.objective.sizes(length)
        return self.layout.longest(source + len(self.before), target + 1)

    def __call__(self, batch: Batch, keys: Sequence[Sequence[int]]) -> Batch:
        """`keys` are what each row's draws are made from."""
        sources, targets = [], []
        for row, key in zip(batch["input_ids"].numpy(), keys, strict=True):
            # the end token is before a text, or padding
            source, target = self.objective.corrupt(row[row != self.end_id], np.random.default_rng(key))
            sources.append(np.array([*self.before, *source, self.end_id], np.int32))
            targets.append(np.array([*target, self.end_id], np.int32))
        made = self.layout({"source": sources, "target": targets, "bytes": [np.zeros(1, np.int32)] * len(keys)})
        del made["num_bytes"]
        return made
