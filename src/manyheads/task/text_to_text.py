"""Tasks that answer a text with a text: translation, summarization, answers in one's own words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.data.examples import Collate, padded
from manyheads.data.source import Source
from manyheads.decoding.beam import beam_search
from manyheads.errors import UserError, check_count, check_range
from manyheads.head.base import Head
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.metric.output import OutputMetric
from manyheads.metric.perplexity import Perplexity
from manyheads.task.base import Shown
from manyheads.task.example import ExampleTask
from manyheads.tokenizer.base import Tokenizer

PLACE = "{source}"
"""Where the source stands in a prompt."""

Columns = dict[str, list[NDArray[np.int32]]]


class TextToText(ExampleTask):
    """Learns the target of each source; losses are over the target's tokens and its end alone.

    An encoder-decoder reads the source with its encoder. A network that reads from left to right reads a prompt with the
    source in it, and the target follows.

    Args:
        kind: of the network.
        max_source_tokens: of a source; its end is left out beyond.
        max_target_tokens: of a target, its end token included; the rest is not learned, nor is where it ends. Also the
            longest output.
        prompt: what a network without an encoder reads, with {source} where the source stands.
        num_beams: texts that are followed at once when outputs are searched for; 1: the likeliest token each time.
        length_penalty: what a text's length is raised to before its score is divided by it; above 0 favours longer ones.
        early_stopping: whether a search ends with as many finished texts as beams; never: only when no better one can come.
        no_repeat_ngram: so many tokens in a row do not come twice in an output; 0: they may.
    """

    heads = frozenset({"NextToken"})
    metrics = (Loss, Perplexity, BitsPerByte, Accuracy)
    monitor = "val/bits_per_byte"
    columns = ("source", "target")
    source_field: ClassVar[str]
    target_field: ClassVar[str]

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        kind: str,
        batch_size: int,
        eval_batch_size: int | None,
        num_workers: int,
        shuffle: bool,
        max_source_tokens: int,
        max_target_tokens: int,
        prompt: str,
        num_beams: int,
        length_penalty: float,
        early_stopping: bool | str,
        no_repeat_ngram: int,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size,
            num_workers=num_workers, shuffle=shuffle,
        )  # fmt: skip
        check_range("task.max_source_tokens", max_source_tokens, 1)
        check_range("task.max_target_tokens", max_target_tokens, 1)
        check_count("task.num_beams", num_beams)
        check_range("task.no_repeat_ngram", no_repeat_ngram, 0)
        if prompt.count(PLACE) != 1:
            raise UserError(f"task.prompt={prompt}: write {PLACE} once, where the source stands.")
        self.max_source_tokens = max_source_tokens
        self.max_target_tokens = max_target_tokens
        self.layout = LAYOUTS[kind](tokenizer, prompt)
        self.search = {
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "early_stopping": early_stopping,
            "no_repeat_ngram": no_repeat_ngram,
        }

    @property
    def recipe(self) -> list[Any]:
        return [self.max_source_tokens, self.max_target_tokens, *self.layout.recipe]

    def watch(self, monitor: str) -> None:
        """Outputs take long to write: a training does it at its end, unless one of their scores is monitored."""
        self.while_training = monitor.removeprefix("val/") in {metric.name for metric in self.output_metrics}

    def sources(self, rows: Mapping[str, list[Any]]) -> list[str]:
        """The source of each row."""
        return [text or "" for text in rows[self.source_field]]

    def target_texts(self, rows: Mapping[str, list[Any]]) -> list[str]:
        """The text that each row teaches."""
        return [text or "" for text in rows[self.target_field]]

    def tags(self, rows: Mapping[str, list[Any]]) -> list[list[int]]:
        """The tokens that stand before the source of each row."""
        return [[] for _ in rows[self.source_field]]

    def encode(self, rows: Mapping[str, list[Any]]) -> Mapping[str, Sequence[Sequence[int]]]:
        found = self.tokenizer.encode_batch(self.sources(rows))
        kept_sources = (one[: self.max_source_tokens] for one in found)
        columns = {
            "source": [
                self.layout.wrapped([*tag, *one]) for tag, one in zip(self.tags(rows), kept_sources, strict=True)
            ],
            "lost_source": [[max(0, len(one) - self.max_source_tokens)] for one in found],
        }
        known = self.target_field in rows
        texts = self.target_texts(rows) if known else [""] * len(found)
        targets = [[*one, self.tokenizer.end_id] for one in self.tokenizer.encode_batch(texts)]
        kept = [one[: self.max_target_tokens] for one in targets]
        columns["target"] = kept if known else [[] for _ in found]
        columns["lost_target"] = [[len(one) - len(part)] for one, part in zip(targets, kept, strict=True)]
        columns["bytes"] = [
            [len((text if len(one) == len(part) else self.tokenizer.decode(part)).encode())]
            for text, one, part in zip(texts, targets, kept, strict=True)
        ]
        return columns

    def told(self, split: str) -> list[str]:
        limits = {"source": self.max_source_tokens, "target": self.max_target_tokens}
        said = []
        for what, limit in limits.items():
            lost = self.store(split)[f"lost_{what}"].values
            if cut := int((lost > 0).sum()):
                said.append(
                    f"{cut:,} of {len(lost):,} {what}s of {split} are longer than task.max_{what}_tokens={limit}: their "
                    f"ends were left out, {int(lost.sum()):,} tokens"
                )
        return said

    def collate(self, scoring: bool) -> Collate:
        return self.layout

    def sizes(self, split: str) -> NDArray[np.int64]:
        return self.layout.sizes(*(self.store(split)[column].lengths for column in self.columns))

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> list[str]:
        """What the network writes for each row."""
        prompts, sources = self.layout.asked(batch)
        settings = {"end_id": self.tokenizer.end_id, "max_new_tokens": self.max_target_tokens, "sources": sources}
        found = beam_search(network, head, prompts, **settings, **self.search)
        return [text.strip() for text in self.tokenizer.decode_batch([best[0].tokens for best in found])]

    def prompts(self, count: int) -> list[Shown]:
        """Sources of the validation split that stand evenly apart."""
        store = self.store("validation")
        chosen = np.linspace(0, len(store) - 1, min(count, len(store))).astype(np.int64)
        rows = self.source.rows("validation")[store.rows[chosen].tolist()]
        batch = self.layout({name: [store[name][int(i)] for i in chosen] for name in store.columns})
        prompts, sources = self.layout.asked(batch)
        texts = self.inputs(rows)
        found = zip(texts, prompts, sources or [None] * len(texts), strict=True)
        return [Shown(f"{text}\n", prompt, source) for text, prompt, source in found]

    def inputs(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        return self.sources(rows)

    def targets(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        """The references of each output: those of the column references, where there are some."""
        texts = self.target_texts(rows)
        given = rows.get("references") or [None] * len(texts)
        return [list(references) if references else [text] for references, text in zip(given, texts, strict=True)]

    def shown(self, output: Any) -> Any:
        return output[0] if isinstance(output, list) and len(output) == 1 else output

    def scorers(self) -> list[OutputMetric]:
        return [metric() for metric in self.output_metrics]


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

    def asked(self, batch: Batch) -> tuple[list[list[int]], list[list[int]] | None]:
        ids, labels = batch["input_ids"], batch["labels"]
        learned = labels != IGNORE
        read = batch.get("segments", torch.ones_like(ids)).sum(-1)
        # the label of the prompt's last token is the first that is learned
        ends = torch.where(learned.any(-1), learned.int().argmax(-1) + 1, read).tolist()
        return [row[1:end] for row, end in zip(ids.tolist(), ends, strict=True)], None


LAYOUTS: dict[str, type[Layout]] = {"encoder-decoder": WithEncoder, "causal": FromLeftToRight}
"""By the kind of the network."""

READ_APART = frozenset(kind for kind, layout in LAYOUTS.items() if layout is WithEncoder)
"""Kinds of networks that have a source beside the text that they write."""
