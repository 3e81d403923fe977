"""What tasks of word vectors have in common: what is told of the vectors when they are learned."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from manyheads import atomic
from manyheads.data.source import SPLITS
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.metric.analogies import Analogies
from manyheads.metric.similarity import Similarity
from manyheads.task.altered_texts import AlteredTexts
from manyheads.task.base import Prediction, Scored
from manyheads.task.word_scores import Neighbours, WordScores, vectors_of

TOLD = 5
"""Neighbours of each word on the screen; the page has all."""

PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Nearest words</title>
<style>body{{font:15px sans-serif;margin:2em}}td,th{{padding:.2em 1em .2em 0;text-align:left;vertical-align:top}}
small{{color:#777}}</style>
<h1>Nearest words</h1><p>By the cosine of their vectors.</p>
<table><tr><th>word<th>nearest words</tr>
{rows}
</table></html>
"""


class WordTask(AlteredTexts):
    """Learns a vector for each word of texts. Words are tokens; special tokens and the unknown one are none.

    `scorer` tests the vectors; a final class says what is learned.
    """

    output_metrics = (Analogies, Similarity)
    monitor = "val/loss"

    def __init__(
        self,
        *,
        neighbours: int = 10,
        words: Sequence[str] | None = None,
        analogies: str | None = None,
        similarities: str | None = None,
        **rows: Any,
    ) -> None:
        """`rows`: see `TextRows`; the others: see `WordScores`. Raises UserError, also for a stream, whose words nobody has
        counted."""
        super().__init__(**rows)
        if self.source.stream() is not None:
            raise UserError(
                "data.streaming=true: word vectors are learned from counts of all words of the training texts. Set it to false."
            )
        self.scorer = WordScores(
            self.tokenizer, lambda: self.counts, neighbours=neighbours, words=words, analogies=analogies,
            similarities=similarities,
        )  # fmt: skip
        self.output_metrics = self.scorer.metrics
        self.signatures = self.scorer.signatures

    @property
    def _counted(self) -> str:
        """The split whose words are counted: train, or of data to score alone the first that is there."""
        return "train" if "train" in self.source.given else self.source.given[0]

    @functools.cached_property
    def counts(self) -> NDArray[np.int64]:
        """[V] how often each word is in the training texts; 0 of what is no word. Raises UserError when there is none."""
        size = self.tokenizer.vocab_size
        found = np.zeros(size, np.int64)
        known = self.scorer.words.known
        found[known] = self.store(self._counted).token_counts(size)[known]
        if not found.any():
            raise UserError(
                f"data ({self.source.name}): {self._counted} has no known word. Set data with words, or another tokenizer."
            )
        return found

    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        """Tokenizes the splits and reads the files of tests. Raises UserError."""
        super().prepare(splits)
        self.scorer.check()

    @property
    def notes(self) -> list[str]:
        alone = self._counted
        said = f"words are weighed by their counts in {alone}, since there is no train split"
        return super().notes + [said] * (alone != "train")

    @property
    def closing_notes(self) -> list[str]:
        """Neighbours of some words."""
        return [*super().closing_notes, *map(_line, self.scorer.told())]

    def watch(self, monitor: str) -> None:
        self.scorer.watch(monitor)

    @property
    def outputs(self) -> WordScores:
        return self.scorer

    def baselines(self, split: str) -> dict[str, dict[str, float]]:
        """None: a loss against drawn words compares with no rule's."""
        return {}

    def pages(self, scored: Scored) -> Mapping[str, Callable[[Path], None]]:
        """Words with their neighbours."""
        found = self.scorer.told()
        return {"neighbours": functools.partial(_write_page, found)} if found else {}

    @property
    def first_try(self) -> str | None:
        return "predict {run} input.text=WORD"

    def answers(self, network: nn.Module, head: Head) -> Iterator[Prediction]:
        """The neighbours of the text of each row of the test split: of a word, or of the mean of several; none of a text whose
        words are all unknown."""
        vectors, number = vectors_of(network, head), 0
        for texts in self.source.texts("test"):
            tokens = [self.scorer.words.ids_of(text) for text in texts]
            found = iter(self.scorer.of(vectors, [ids for ids in tokens if ids]))
            for text, ids in zip(texts, tokens, strict=True):
                near = next(found).nearest if ids else []
                yield Prediction(
                    id=number,
                    input=text,
                    output=" ".join(word for word, _ in near[:1]),
                    neighbours=[{"word": word, "similarity": cosine} for word, cosine in near],
                )
                number += 1


def _line(one: Neighbours) -> str:
    return f"nearest to {one.word}: {', '.join(f'{word} {cosine:.2f}' for word, cosine in one.nearest[:TOLD])}"


def _write_page(found: Sequence[Neighbours], path: Path) -> None:
    """One page of HTML, whole or not at all. Raises OSError when it cannot be written."""
    rows = "\n".join(
        f"<tr><td>{html.escape(one.word)}<td>"
        + ", ".join(f"{html.escape(word)} <small>{cosine:.3f}</small>" for word, cosine in one.nearest)
        + "</tr>"
        for one in found
    )
    with atomic.replacing(path) as file:
        file.write(PAGE.format(rows=rows))
