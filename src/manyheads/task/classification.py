"""Classification: which class a text belongs to, or which of several labels it has."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from torch import Tensor, nn

from manyheads.baseline.base import Baseline
from manyheads.baseline.classification import classifiers
from manyheads.batch import Batch
from manyheads.data.examples import Collate
from manyheads.data.fields import Fields
from manyheads.data.ragged import RowError
from manyheads.data.source import SPLITS, Source
from manyheads.errors import UserError, check_range, did_you_mean, written
from manyheads.head.base import Head
from manyheads.metric.classification import (
    Auroc,
    CalibrationError,
    ExampleAccuracy,
    MacroF1,
    MatthewsCorrelation,
    MicroF1,
    OfOneClass,
    confusion_matrix,
)  # fmt: skip
from manyheads.metric.confusion import write_confusion_matrix
from manyheads.metric.loss import Loss
from manyheads.metric.output import OutputMetric
from manyheads.task.base import Prediction, Scored
from manyheads.task.class_forms import FORMS
from manyheads.task.class_labels import is_list, labels_of, name_of, names_of, second_texts
from manyheads.task.example import ExampleTask
from manyheads.tokenizer.base import Tokenizer

NONE = "none"


@final
class Classification(ExampleTask):
    """One class for each text, or for each pair of texts (`text_pair`); with lists in the column label, several labels.

    With head=label a text begins with the tokenizer's end-of-text token, which has no meaning of its own there and can be
    pooled (`head.pool=first`). With head=next_token the network writes the class: it reads the text in a prompt, or with
    its encoder, and the class is the one whose text is the likeliest to follow (see `class_forms`). Between two texts the
    end-of-text token stands once more. Longer ones lose their ends, which the run tells.

    Args:
        kind, reads: of the network, and what the head reads of a batch.
        max_tokens: of an example, a prompt apart; the rest is left out, the longer text of a pair first.
        labels: the classes, in their order; None: those of the data (its names, or else what stands in train, sorted).
        several: whether a row can have several labels; None: it can where the column label holds lists.
        balance: multiplies the loss of each class by rows / (classes x rows of the class), so that rare ones count as
            much as common ones (King and Zeng 2001). With head=label.
        prompt: with head=next_token what a network without an encoder reads, with {text} where the text stands.
        verbalizers: with head=next_token what a class is written as, where that is not its name.

    Raises:
        UserError: a number is out of range; a label is of no class, missing or of several kinds; train has one class only;
            the head cannot do what a setting asks for.
    """

    heads = frozenset({"Label", "NextToken"})
    fields = Fields(("text",), ("label",), ("text_pair",))
    asked = Fields(("text",), (), ("text_pair", "label"))
    metrics = (Loss,)
    output_metrics = (ExampleAccuracy, MacroF1, MicroF1, MatthewsCorrelation, Auroc, CalibrationError)
    monitor = "val/accuracy"

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        kind: str,
        reads: str,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        shuffle: bool = True,
        max_tokens: int = 256,
        labels: Sequence[str] | None = None,
        several: bool | None = None,
        balance: Literal["none", "balanced"] = NONE,
        prompt: str = "{text}\n=",
        verbalizers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size,
            num_workers=num_workers, shuffle=shuffle,
        )  # fmt: skip
        check_range("task.max_tokens", max_tokens, 2)
        self.max_tokens = max_tokens
        self.balance = balance
        self._several = several
        self.labels = list(labels) if labels else labels_of(source)
        if len(self.labels) < 2:
            where = f"task.labels=[{','.join(self.labels)}]" if labels else f"data ({source.name}): train"
            raise UserError(f"{where} has one class alone, {', '.join(self.labels)}. Set two classes or more.")
        self.form = FORMS[reads](
            tokenizer=tokenizer, labels=self.labels, several=self.several, kind=kind, prompt=prompt, verbalizers=verbalizers
        )  # fmt: skip
        self.columns = self.form.columns
        if balance != NONE and not self.form.weighs:
            raise UserError(f"task.balance={balance}: the head has no weights for classes. Set head=label, or {NONE}.")
        self._index = {name: number for number, name in enumerate(self.labels)}

    def check_positions(self, most: int) -> None:
        longest = self.form.longest(self.max_tokens)
        if longest > most:
            raise UserError(
                f"task.max_tokens={self.max_tokens}: with the prompt and a class, rows of up to {longest} tokens are longer than "
                f"the network's {most} positions. Set task.max_tokens={self.max_tokens - longest + most} or less, or "
                f"model.max_positions={longest}."
            )

    @property
    def recipe(self) -> list[Any]:
        return [self.max_tokens, self.labels, *self.form.recipe]

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        head: dict[str, Any] = {"labels": self.labels, "several": self.several}
        if self.balance != NONE:
            head["class_weights"] = self._weights()
        return {"task": {"labels": self.labels, "several": self.several}, "head": head}

    @functools.cached_property
    def several(self) -> bool:
        """Whether a row can have several labels."""
        return is_list(self._feature) if self._several is None else self._several

    @functools.cached_property
    def _feature(self) -> Any:
        split = next(split for split in SPLITS if split in self.source.given)
        return self.source.rows(split).features.get("label")

    def encode(self, rows: Mapping[str, list[Any]]) -> Mapping[str, Sequence[Sequence[int]]]:
        texts = self.tokenizer.encode_batch([text or "" for text in rows["text"]])
        pairs: Sequence[list[int] | None] = [None] * len(texts)
        if "text_pair" in rows:
            pairs = self.tokenizer.encode_batch(second_texts(rows["text_pair"]))
        made = [self._tokens(text, pair) for text, pair in zip(texts, pairs, strict=True)]
        classes = self._all_classes(rows["label"]) if "label" in rows else None
        columns = {**self.form.encoded([tokens for tokens, _ in made], classes), "lost": [[lost] for _, lost in made]}
        return columns if classes is None else {**columns, "classes": classes}

    def _tokens(self, text: list[int], pair: list[int] | None) -> tuple[list[int], int]:
        """The tokens of an example, and how many were left out."""
        end, length = self.tokenizer.end_id, len(text) + len(pair or ())
        room = self.max_tokens - (1 if pair is None else 2)
        if pair is None:
            return [end, *text[:room]], max(0, length - room)
        shorter = min(len(text), len(pair))
        most = max(room - shorter, (room + 1) // 2)
        first = text[:most] if len(text) >= len(pair) else text[: room // 2 if shorter > room // 2 else shorter]
        return [end, *first, end, *pair[: room - len(first)]], max(0, length - room)

    def _all_classes(self, labels: Sequence[Any]) -> list[list[int]]:
        """The numbers of the classes of each row. Raises RowError for a label that is none."""
        found = []
        for row, value in enumerate(labels):
            of = list(value) if isinstance(value, list | tuple) else [value]
            if len(of) != 1 and not self.several:
                raise RowError(
                    row, f"label={written(value)} is no single class: with lists in train, rows have several"
                )
            found.append(sorted(self._class(row, name) for name in of))
        return found

    def _class(self, row: int, value: Any) -> int:
        name = name_of(value, self._names)
        if value is None:
            raise RowError(row, "label=null names no class")
        if name not in self._index:
            known = f"{len(self.labels)} classes of train or task.labels: {', '.join(self.labels[:20])}"
            raise RowError(row, f"label={name} is none of the {known}.{did_you_mean(name, self.labels)}".rstrip("."))
        return self._index[name]

    @functools.cached_property
    def _names(self) -> Sequence[str] | None:
        return names_of(self._feature)

    def told(self, split: str) -> list[str]:
        store, said = self.store(split), []
        lost = store["lost"].values
        if cut := int((lost > 0).sum()):
            said.append(
                f"{cut:,} of {len(lost):,} texts of {split} are longer than task.max_tokens={self.max_tokens}: their ends were "
                f"left out, {int(lost.sum()):,} tokens"
            )
        nothing = self.form.nothing + ("text_pair" in self.source.rows(split).column_names)
        if empty := int((store[self.columns[0]].lengths == nothing).sum()):
            said.append(f"{empty:,} of {len(lost):,} texts of {split} are empty")
        return said

    def collate(self, scoring: bool) -> Collate:
        return self.form.collate

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> list[list[float]]:
        """The probability of each class."""
        return self.form.probabilities(network, head, batch, hidden).double().tolist()

    def inputs(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        if "text_pair" not in rows:
            return list(rows["text"])
        return [list(pair) for pair in zip(rows["text"], rows["text_pair"], strict=True)]

    def targets(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        """The number of the class; with several labels, 0 or 1 for each."""
        found = self._all_classes(rows["label"])
        if not self.several:
            return [classes[0] for classes in found]
        return [[int(number in classes) for number in range(len(self.labels))] for classes in found]

    def shown(self, output: Any) -> Any:
        """The class of probabilities or of a target; the labels, where there can be several."""
        if isinstance(output, int):
            return self.labels[output]
        if self.several:
            return [name for name, value in zip(self.labels, output, strict=True) if value > 0.5]
        return self.labels[int(np.argmax(output))]

    def details(self, output: Any) -> Prediction:
        return Prediction(probabilities=dict(zip(self.labels, output, strict=True)))

    def scorers(self) -> list[OutputMetric]:
        return [metric() for metric in self.output_metrics if not (self.several and issubclass(metric, OfOneClass))]

    @property
    def rules(self) -> Mapping[str, Baseline]:
        return classifiers(len(self.labels), several=self.several)

    def pages(self, scored: Scored) -> Mapping[str, Callable[[Path], None]]:
        """The confusion matrix, where a row has one class."""
        if self.several or not scored.outputs:
            return {}
        chosen, targets = self.held_to("test", scored.outputs)
        counts = confusion_matrix([scored.outputs[example] for example in chosen], targets)
        return {"confusion": functools.partial(write_confusion_matrix, counts, self.labels)}

    def _weights(self) -> list[float]:
        counts = Counter(self.store("train")["classes"].values.tolist())
        total = sum(counts.values())
        return [total / (len(self.labels) * max(1, counts[number])) for number in range(len(self.labels))]
