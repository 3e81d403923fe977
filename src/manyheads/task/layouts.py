"""How a source and its target become the row that a kind of network reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.data.examples import padded
from manyheads.head.base import Head
from manyheads.tokenizer.base import Tokenizer

PLACE = "{source}"
"""Where the source stands in a prompt."""

Columns = dict[str, list[NDArray[np.int32]]]


class Layout(ABC):
    """How a source and its target become the row that a kind of network reads."""

    def __init__(self, tokenizer: Tokenizer, prompt: str) -> None:
        self.end_id = tokenizer.end_id

    @property
    def recipe(self) -> list[Any]:
        """What `wrapped` depends on."""
        return []

    @abstractmethod
    def wrapped(self, source: list[int]) -> list[int]:
        """The source with what stands around it."""

    @abstractmethod
    def __call__(self, columns: Columns) -> Batch:
        """A batch of examples."""

    @abstractmethod
    def sizes(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """[N] what examples of like padding are alike in, given the tokens of their sources and targets."""

    @abstractmethod
    def longest(self, source: int, target: int) -> int:
        """Positions that a source of so many tokens, what stands around it apart, and a target of so many take at most."""

    @abstractmethod
    def asked(self, batch: Batch) -> tuple[list[list[int]], list[list[int]] | None]:
        """(what the network goes on from, what its encoder reads) for each row, to write its target."""

    def answered(self, batch: Batch, target: list[int]) -> Batch:
        """The rows of a batch, each with this target instead of its own, on the same device."""
        prompts, sources = self.asked(batch)
        read = sources or [[self.end_id, *prompt] for prompt in prompts]
        columns = {"source": read, "target": [target] * len(read), "bytes": [[0]] * len(read)}
        made = self({name: [np.array(row, np.int32) for row in rows] for name, rows in columns.items()})
        device = batch["input_ids"].device
        return Batch(**{name: value.to(device) for name, value in made.items()})  # type: ignore[attr-defined, typeddict-item]

    def _finished(self, batch: Batch, columns: Columns) -> Batch:
        batch["num_tokens"] = torch.tensor(sum(map(len, columns["source"])) + sum(map(len, columns["target"])))
        batch["num_bytes"] = torch.from_numpy(np.concatenate(columns["bytes"]).astype(np.int64))
        return batch


class WithEncoder(Layout):
    """The encoder reads the source and an end token; the decoder begins with the end token, as every text does."""

    def wrapped(self, source: list[int]) -> list[int]:
        return [*source, self.end_id]

    def __call__(self, columns: Columns) -> Batch:
        source, source_segments = padded(columns["source"], self.end_id)
        inputs, segments = padded([np.concatenate([[self.end_id], one[:-1]]) for one in columns["target"]], self.end_id)
        batch = Batch(source_ids=source, input_ids=inputs, labels=padded(columns["target"], IGNORE)[0])
        if source_segments is not None:
            batch["source_segments"] = source_segments
        if segments is not None:
            batch["segments"] = segments
        return self._finished(batch, columns)

    def sizes(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """By the longer of the two, then from short sources to short targets, for each is padded by itself: of all positions
        of Multi30k in batches of 128, 91 % hold a token so, and 80 % if sorted by the sum."""
        longer, shorter = np.maximum(sources, targets), np.minimum(sources, targets)
        return longer * 2 * (1 + longer.max(initial=0)) + np.where(sources > targets, 2 * longer - shorter, shorter)

    def longest(self, source: int, target: int) -> int:
        return max(source + 1, target)

    def asked(self, batch: Batch) -> tuple[list[list[int]], list[list[int]] | None]:
        ids, segments = batch["source_ids"], batch.get("source_segments")
        lengths = [ids.shape[1]] * len(ids) if segments is None else segments.sum(-1).tolist()
        return [[] for _ in lengths], [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]


class FromLeftToRight(Layout):
    """The network reads the prompt and writes the target behind it."""

    def __init__(self, tokenizer: Tokenizer, prompt: str) -> None:
        super().__init__(tokenizer, prompt)
        self.prompt = prompt
        self.before, self.after = (tokenizer.encode(part) for part in prompt.split(PLACE))

    @property
    def recipe(self) -> list[Any]:
        return [self.prompt]

    def wrapped(self, source: list[int]) -> list[int]:
        return [self.end_id, *self.before, *source, *self.after]

    def __call__(self, columns: Columns) -> Batch:
        pairs = list(zip(columns["source"], columns["target"], strict=True))
        inputs, segments = padded([np.concatenate([source, target[:-1]]) for source, target in pairs], self.end_id)
        unlearned = [np.full(len(source) - 1, IGNORE) for source, _ in pairs]
        labels = [np.concatenate([nothing, target]) for nothing, (_, target) in zip(unlearned, pairs, strict=True)]
        batch = Batch(input_ids=inputs, labels=padded(labels, IGNORE)[0])
        if segments is not None:
            batch["segments"] = segments
        if inputs.shape != batch["labels"].shape:  # nothing is learned of rows without a target
            batch["labels"] = torch.full_like(inputs, IGNORE)
        return self._finished(batch, columns)

    def sizes(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
        return sources + targets

    def longest(self, source: int, target: int) -> int:
        return len(self.wrapped([])) + source + target - 1

    def asked(self, batch: Batch) -> tuple[list[list[int]], list[list[int]] | None]:
        ids, labels = batch["input_ids"], batch["labels"]
        learned = labels != IGNORE
        read = batch.get("segments", torch.ones_like(ids)).sum(-1)
        # the label of the prompt's last token is the first that is learned
        ends = torch.where(learned.any(-1), learned.int().argmax(-1) + 1, read).tolist()
        return [row[1:end] for row, end in zip(ids.tolist(), ends, strict=True)], None


def target_losses(network: nn.Module, head: Head, batch: Batch) -> Tensor:
    """[B] nats of each row's target, float64."""
    return head.losses(network(batch), batch).sum(-1, dtype=torch.float64)


LAYOUTS: dict[str, type[Layout]] = {
    "encoder-decoder": WithEncoder,
    "causal": FromLeftToRight,
    "counting": FromLeftToRight,
}
"""By the kind of the network."""

READ_APART = frozenset(kind for kind, layout in LAYOUTS.items() if layout is WithEncoder)
"""Kinds of networks that have a source beside the text that they write."""
