"""The two ways in which a network says a class: by a head that knows the classes, or by writing one's name.

B  rows of a batch        C  classes
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.data.examples import Collate, padded
from manyheads.errors import UserError, did_you_mean
from manyheads.head.base import Head
from manyheads.head.label import Label
from manyheads.task.layouts import LAYOUTS, PLACE, target_losses
from manyheads.tokenizer.base import Tokenizer

TEXT = "{text}"
"""Where the text stands in a prompt."""

Columns = dict[str, Sequence[Sequence[int]]]


class Form(ABC):
    """How an example is laid out, and how the probabilities of its classes are read.

    Attributes:
        columns: of tokens, whose lengths together are an example's.
        recipe: what `encoded` depends on besides tokens and classes.
        weighs: whether the head takes a weight for each class.
    """

    columns: Sequence[str]
    recipe: list[Any]
    weighs: bool
    nothing: int
    """Tokens of the first column for an empty text."""

    @abstractmethod
    def encoded(self, tokens: Sequence[Sequence[int]], classes: Sequence[Sequence[int]] | None) -> Columns:
        """The columns of some examples, given the tokens of each, the end-of-text token first, and its classes."""

    @property
    @abstractmethod
    def collate(self) -> Collate:
        """What makes a batch of examples."""

    @abstractmethod
    def longest(self, tokens: int) -> int:
        """Positions that a row takes whose example has so many tokens, the end-of-text token included."""

    @abstractmethod
    def probabilities(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> Tensor:
        """[B, C]"""


class Pooled(Form):
    """A head with a number for each class reads the network's states of the text."""

    columns = ("tokens",)
    weighs = True
    nothing = 1

    def __init__(
        self, *, tokenizer: Tokenizer, labels: Sequence[str], several: bool, kind: str, prompt: str,
        verbalizers: Mapping[str, str] | None,
    ) -> None:  # fmt: skip
        if verbalizers:
            raise UserError("task.verbalizers: a head of classes writes no text. Set head=next_token, or null.")
        self.recipe = []
        self._collate = _Collate(tokenizer.end_id, len(labels) if several else None)

    def encoded(self, tokens: Sequence[Sequence[int]], classes: Sequence[Sequence[int]] | None) -> Columns:
        return {"tokens": tokens}

    @property
    def collate(self) -> Collate:
        return self._collate

    def longest(self, tokens: int) -> int:
        return tokens

    def probabilities(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> Tensor:
        return cast(Label, head).probabilities(hidden, batch)


class Written(Form):
    """The network reads a prompt with the text in it and writes the class, whose tokens and end alone are learned.

    A class is as likely as its text is among those of all classes: p(tokens and end | prompt), over their sum (Schick and
    Schütze, "Exploiting Cloze-Questions for Few-Shot Text Classification", 2021, section 3.1, whose verbalizers are one
    token each).

    Raises:
        UserError: a row can have several classes; the prompt has not one place for the text; a verbalizer is of no class
            or empty; two classes are written alike.
    """

    columns = ("source", "target")
    weighs = False

    def __init__(
        self, *, tokenizer: Tokenizer, labels: Sequence[str], several: bool, kind: str, prompt: str,
        verbalizers: Mapping[str, str] | None,
    ) -> None:  # fmt: skip
        if several:
            raise UserError(
                "head=next_token writes one class for a row, and the column label holds lists. Set head=label, or "
                "data.columns.label to a column of single classes."
            )
        if prompt.count(TEXT) != 1 or PLACE in prompt:
            raise UserError(f"task.prompt={prompt}: write {TEXT} once, where the text stands.")
        self.texts = _texts(labels, verbalizers or {})
        self.layout = LAYOUTS[kind](tokenizer, prompt.replace(TEXT, PLACE))
        self.nothing = len(self.layout.wrapped([]))
        self.targets = _targets(tokenizer, labels, self.texts)
        self.recipe = [self.texts, *self.layout.recipe]

    def encoded(self, tokens: Sequence[Sequence[int]], classes: Sequence[Sequence[int]] | None) -> Columns:
        columns: Columns = {"source": [self.layout.wrapped(list(one[1:])) for one in tokens]}
        of = [()] * len(tokens) if classes is None else classes
        columns["target"] = [self.targets[one[0]] if one else [] for one in of]
        columns["bytes"] = [[len(self.texts[one[0]].encode()) if one else 0] for one in of]
        return columns

    @property
    def collate(self) -> Collate:
        return self.layout

    def longest(self, tokens: int) -> int:
        return self.layout.longest(tokens - 1, max(map(len, self.targets)))

    def probabilities(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> Tensor:
        """The rows are read once for each class."""
        found = [target_losses(network, head, self.layout.answered(batch, target)) for target in self.targets]
        return (-torch.stack(found, -1)).softmax(-1)


FORMS: Mapping[str, type[Pooled | Written]] = {"classes": Pooled, "labels": Written}
"""By what the head reads of a batch."""


def _texts(labels: Sequence[str], verbalizers: Mapping[str, str]) -> list[str]:
    """What each class is written as."""
    for label, text in verbalizers.items():
        if label not in labels:
            raise UserError(f"task.verbalizers: {label} is none of the classes.{did_you_mean(label, labels)}")
        if not isinstance(text, str) or not text:
            raise UserError(f"task.verbalizers: {label} is written {text!r}. Set a text; put quotes around a number.")
    return [verbalizers.get(label, label) for label in labels]


def _targets(tokenizer: Tokenizer, labels: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each class, and the end."""
    found: dict[tuple[int, ...], int] = {}
    for number, text in enumerate(texts):
        same = found.setdefault(tuple(tokenizer.encode(text)), number)
        if same != number:
            raise UserError(
                f"task.verbalizers: {labels[same]} is written {texts[same]!r} and {labels[number]} {text!r}, which are the "
                f"same tokens. Set another text for one of them, as in 'task.verbalizers={{{labels[number]}: TEXT}}'."
            )
    return [[*tokens, tokenizer.end_id] for tokens in found]


class _Collate:
    """Tokens and classes to a batch."""

    def __init__(self, end_id: int, several: int | None) -> None:
        self.end_id = end_id
        self.several = several  # how many labels there are, where a row can have several

    def __call__(self, columns: dict[str, list[np.ndarray]]) -> Batch:
        ids, segments = padded(columns["tokens"], self.end_id)
        batch = Batch(input_ids=ids, num_tokens=torch.tensor(sum(map(len, columns["tokens"]))))
        if segments is not None:
            batch["segments"] = segments
        batch["classes"] = self._classes(columns.get("classes"), len(ids))
        return batch

    def _classes(self, found: list[np.ndarray] | None, count: int) -> Tensor:
        if self.several is None:
            return torch.full((count,), IGNORE) if found is None else torch.tensor([int(one[0]) for one in found])
        made = torch.full((count, self.several), float(IGNORE if found is None else 0))
        for row, classes in enumerate(found or ()):
            made[row, classes.astype(np.int64)] = 1.0
        return made
