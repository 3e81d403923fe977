"""Tasks that answer a text with a text: translation, summarization, answers in one's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.data.examples import Collate
from manyheads.data.ragged import RowError
from manyheads.data.source import Source
from manyheads.decoding.beam import beam_search
from manyheads.decoding.constraint import Constraint
from manyheads.decoding.options import constraint_of
from manyheads.errors import UserError, check_count, check_range, written
from manyheads.head.base import Head
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.metric.output import OutputMetric
from manyheads.metric.perplexity import Perplexity
from manyheads.task.base import Shown
from manyheads.task.example import ExampleTask
from manyheads.task.layouts import LAYOUTS, PLACE
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bpe_dropout import BpeDropout


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
        bpe_dropout: how likely a merge is passed over when training cuts words into tokens, which are others in each epoch
            (Provilkov et al. 2020: 0.1); 0: never. What is scored and written is cut as usual.
        choices: texts of which an output is one; None: any text.
        regex: what an output matches as a whole; None: any text.
    """

    heads = frozenset({"NextToken"})
    metrics = (Loss, Perplexity, BitsPerByte, Accuracy)
    monitor = "val/bits_per_byte"
    columns = ("source", "target")
    source_field: ClassVar[str]
    target_field: ClassVar[str]
    num_tags = 0
    """Tokens that stand before each source."""
    never_empty: ClassVar[frozenset[str]] = frozenset({"source", "target"})
    """What the user is told of where it is empty."""

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
        bpe_dropout: float = 0.0,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size,
            num_workers=num_workers, shuffle=shuffle,
        )  # fmt: skip
        check_range("task.max_source_tokens", max_source_tokens, 1)
        check_range("task.max_target_tokens", max_target_tokens, 1)
        check_count("task.num_beams", num_beams)
        check_range("task.no_repeat_ngram", no_repeat_ngram, 0)
        check_range("task.bpe_dropout", bpe_dropout, 0, 1)
        if prompt.count(PLACE) != 1:
            raise UserError(f"task.prompt={prompt}: write {PLACE} once, where the source stands.")
        self.max_source_tokens = max_source_tokens
        self.max_target_tokens = max_target_tokens
        self.layout = LAYOUTS[kind](tokenizer, prompt)
        self.bpe_dropout = BpeDropout(tokenizer, bpe_dropout) if bpe_dropout else None
        self.redraw = None if self.bpe_dropout is None else self._cut_anew
        self.search: dict[str, Any] = {
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "early_stopping": early_stopping,
            "no_repeat_ngram": no_repeat_ngram,
            "allowed": self._constraint(choices, regex),
        }

    def _constraint(self, choices: Sequence[str] | None, regex: str | None) -> Constraint | None:
        """What outputs are kept to. Raises UserError for what cannot be written."""
        try:
            return constraint_of(self.tokenizer, choices, regex, self.max_target_tokens, "max_target_tokens")
        except UserError as error:
            raise UserError(f"task.{error}") from error

    @property
    def recipe(self) -> list[Any]:
        return [self.max_source_tokens, self.max_target_tokens, *self.layout.recipe]

    def _cut_anew(
        self, columns: Mapping[str, list[NDArray[np.int32]]], keys: Sequence[Sequence[int]]
    ) -> dict[str, list[NDArray[np.int32]]]:
        """Sources and targets in other tokens; as they are where that makes them longer than they may be."""
        assert self.bpe_dropout is not None
        limits = {
            "source": len(self.layout.wrapped([])) + self.num_tags + self.max_source_tokens,
            "target": self.max_target_tokens,
        }
        made = dict(columns)
        for number, (name, limit) in enumerate(limits.items()):
            drawn = [self.bpe_dropout(one, (*key, number)) for one, key in zip(columns[name], keys, strict=True)]
            made[name] = [new if len(new) <= limit else old for new, old in zip(drawn, columns[name], strict=True)]
        return made

    def check_positions(self, most: int) -> None:
        longest = self.layout.longest(self.max_source_tokens + self.num_tags, self.max_target_tokens)
        if longest > most:
            raise UserError(
                f"task.max_source_tokens={self.max_source_tokens} and task.max_target_tokens={self.max_target_tokens}: rows of "
                f"up to {longest} tokens are longer than the network's {most} positions. Set them lower, or "
                f"model.max_positions={longest}."
            )

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
        references_of(rows, len(rows[self.source_field]))
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
        return said + self._told_empty(split)

    def _told_empty(self, split: str) -> list[str]:
        store = self.store(split)
        shortest = {"source": len(self.layout.wrapped([])) + self.num_tags, "target": 1}
        counts = {what: int((store[what].lengths == shortest[what]).sum()) for what in sorted(self.never_empty)}
        return [f"{count:,} of {len(store):,} {what}s of {split} are empty" for what, count in counts.items() if count]

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
        texts = self.sources(rows)
        found = zip(texts, prompts, sources or [None] * len(texts), strict=True)
        return [Shown(f"{text}\n", prompt, source) for text, prompt, source in found]

    def inputs(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        return self.sources(rows)

    def targets(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        """The references of each output: those of the column references, where there are some."""
        pairs = zip(references_of(rows, len(rows[self.target_field])), self.target_texts(rows), strict=True)
        return [references or [text] for references, text in pairs]

    def shown(self, output: Any) -> Any:
        return output[0] if isinstance(output, list) and len(output) == 1 else output

    def scorers(self) -> list[OutputMetric]:
        return [metric() for metric in self.output_metrics]


def references_of(rows: Mapping[str, list[Any]], count: int) -> list[list[str]]:
    """The reference texts of each row, none where it has none; a text alone is one. Raises RowError for what is neither."""
    found = []
    for row, value in enumerate(rows.get("references") or [None] * count):
        texts = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise RowError(row, f"references={written(value)[:60]} is neither a text nor a list of texts")
        found.append(list(texts))
    return found
