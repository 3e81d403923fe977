"""Summarization: a text in fewer words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import numpy as np
from torch import Tensor, nn

from manyheads.baseline.base import Baseline
from manyheads.baseline.summarization import summarizers
from manyheads.batch import Batch
from manyheads.data.fields import Fields
from manyheads.data.ragged import ROW
from manyheads.data.source import Source
from manyheads.head.base import Head
from manyheads.metric.rouge import Rouge1, Rouge2, RougeL, RougeLsum
from manyheads.metric.text_length import LengthRatio, NovelBigrams
from manyheads.metric.texts import Sourced
from manyheads.task.base import Shown
from manyheads.task.extraction import asked_about, likelihoods, sentence_of
from manyheads.task.text_to_text import TextToText, references_of
from manyheads.tokenizer.base import Tokenizer


@final
class Summarization(TextToText):
    """The column summary says what the column document says, in fewer words; `references` may hold several for scoring.

    All but these arguments are those of `TextToText`.

    Args:
        extractive: whether a summary is a sentence of the document, copied. The network reads each with its number and
            answers whether it is the one that is nearest to the summary; see `extraction`.

    The prompt of a network without an encoder ends as in GPT-2's experiment (Radford et al. 2019, section 3.6).
    Beside ROUGE stand how long the outputs are for their references, and how much of them the whole document does not have.
    """

    fields = Fields(("document", "summary"), optional=("references",))
    asked = Fields(("document",), optional=("summary", "references"))
    output_metrics = (Rouge1, Rouge2, RougeL, RougeLsum, LengthRatio, NovelBigrams)
    source_field = "document"
    target_field = "summary"

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        kind: str,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        shuffle: bool = True,
        max_source_tokens: int = 384,
        max_target_tokens: int = 64,
        prompt: str = "{source}\nTL;DR:",
        num_beams: int = 4,
        length_penalty: float = 1.0,
        early_stopping: bool | Literal["never"] = False,
        no_repeat_ngram: int = 3,
        bpe_dropout: float = 0.0,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        extractive: bool = False,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, kind=kind, batch_size=batch_size,
            eval_batch_size=eval_batch_size, num_workers=num_workers, shuffle=shuffle,
            max_source_tokens=max_source_tokens, max_target_tokens=max_target_tokens, prompt=prompt,
            num_beams=num_beams, length_penalty=length_penalty, early_stopping=early_stopping,
            no_repeat_ngram=no_repeat_ngram, bpe_dropout=bpe_dropout, choices=choices, regex=regex,
        )  # fmt: skip
        self.extractive = extractive

    @property
    def recipe(self) -> list[Any]:
        return [*super().recipe, self.extractive]

    def encode(self, rows: Mapping[str, list[Any]]) -> Mapping[str, Sequence[Sequence[int]]]:
        if not self.extractive:
            return super().encode(rows)
        references_of(rows, len(rows[self.source_field]))
        asked, numbers = asked_about(rows, self.source_field, self.target_field)
        return {**super().encode(asked), ROW: numbers}

    def prompts(self, count: int) -> list[Shown]:
        """Nothing is written where sentences are copied."""
        return [] if self.extractive else super().prompts(count)

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> list[Any]:
        """What the network writes for each row, or how likely its sentence is the one."""
        if not self.extractive:
            return super().read(network, head, batch, hidden)
        return likelihoods(network, head, self.layout, self.tokenizer, batch)

    def joined(self, split: str, outputs: Mapping[int, Any]) -> Mapping[int, Any]:
        """The summary of each row; where sentences are copied the likeliest of them, the first of equals."""
        if not self.extractive:
            return super().joined(split, outputs)
        rows, best = self.store(split).rows, dict[int, int]()
        for example in sorted(outputs):
            row = int(rows[example])
            if row not in best or outputs[example] > outputs[best[row]]:
                best[row] = example
        chosen = sorted(best)
        documents = self.inputs(self.source.rows(split)[chosen]) if chosen else []
        first = np.searchsorted(rows, chosen)  # a row's sentences stand together
        return {
            row: sentence_of(document, best[row] - int(start))
            for row, document, start in zip(chosen, documents, first, strict=True)
        }

    def targets(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        """The references of each output, and the document."""
        pairs = zip(super().targets(rows), self.sources(rows), strict=True)
        return [Sourced(references=references, source=source) for references, source in pairs]

    def shown(self, output: Any) -> Any:
        """Of a target the references: the document is the input."""
        return super().shown(output["references"] if isinstance(output, dict) else output)

    @property
    def rules(self) -> Mapping[str, Baseline]:
        return summarizers()
