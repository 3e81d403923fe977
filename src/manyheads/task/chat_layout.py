"""How a dialogue becomes the rows that a kind of network reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from manyheads.batch import IGNORE, Batch
from manyheads.data.examples import padded
from manyheads.tokenizer.chat_template import Tokens

Columns = dict[str, list[NDArray[np.int32]]]


def runs(learned: Sequence[Any] | NDArray) -> list[tuple[int, int]]:
    """(first place, place after the last) of each run of true values: the replies."""
    steps = np.diff(np.asarray(learned, dtype=np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(steps > 0).tolist(), np.flatnonzero(steps < 0).tolist(), strict=True))


class ChatLayout(ABC):
    """From the tokens of a dialogue to examples, and from examples to a batch."""

    def __init__(self, end_id: int) -> None:
        self.end_id = end_id

    @abstractmethod
    def parts(self, tokens: Tokens, num_bytes: Sequence[int]) -> Iterator[tuple[Tokens, list[int]]]:
        """The examples of a dialogue, each with the bytes of the replies that are learned in it."""

    @abstractmethod
    def __call__(self, columns: Columns) -> Batch:
        """A batch of examples."""

    def _finished(self, batch: Batch, columns: Columns) -> Batch:
        batch["num_tokens"] = torch.tensor(sum(map(len, columns["tokens"])))
        batch["num_bytes"] = torch.tensor([int(one.sum()) for one in columns["bytes"]])
        return batch


@final
class WholeDialogue(ChatLayout):
    """All replies of a dialogue in one row, read from left to right."""

    def parts(self, tokens: Tokens, num_bytes: Sequence[int]) -> Iterator[tuple[Tokens, list[int]]]:
        yield tokens, list(num_bytes)

    def __call__(self, columns: Columns) -> Batch:
        pairs = list(zip(columns["tokens"], columns["learned"], strict=True))
        inputs, segments = padded([tokens[:-1] for tokens, _ in pairs], self.end_id)
        labels, _ = padded([np.where(learned[1:], tokens[1:], IGNORE) for tokens, learned in pairs], IGNORE)
        batch = Batch(input_ids=inputs, labels=labels)
        if segments is not None:
            batch["segments"] = segments
        return self._finished(batch, columns)


@final
class EachReply(ChatLayout):
    """A row for each reply: the encoder reads all before it, up to the assistant's marker, and the decoder begins with the
    end token, as every text does."""

    def parts(self, tokens: Tokens, num_bytes: Sequence[int]) -> Iterator[tuple[Tokens, list[int]]]:
        for (start, end), size in zip(runs(tokens.learned), num_bytes, strict=True):
            yield Tokens(tokens.ids[:end], [False] * start + [True] * (end - start)), [size]

    def __call__(self, columns: Columns) -> Batch:
        pairs = [(tokens, learned != 0) for tokens, learned in zip(columns["tokens"], columns["learned"], strict=True)]
        targets = [tokens[learned] for tokens, learned in pairs]
        source, source_segments = padded([tokens[~learned] for tokens, learned in pairs], self.end_id)
        inputs, segments = padded([np.concatenate([[self.end_id], target[:-1]]) for target in targets], self.end_id)
        batch = Batch(source_ids=source, input_ids=inputs, labels=padded(targets, IGNORE)[0])
        if source_segments is not None:
            batch["source_segments"] = source_segments
        if segments is not None:
            batch["segments"] = segments
        return self._finished(batch, columns)


LAYOUTS: dict[str, type[ChatLayout]] = {
    "causal": WholeDialogue,
    "counting": WholeDialogue,
    "encoder-decoder": EachReply,
}
"""By the kind of the network."""
