"""Tasks that learn texts from what chance has made of them: masking and denoising."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyheads.data.concatenated import ConcatenatedStore
from manyheads.task.base import Prediction, Scored
from manyheads.task.text_rows import TextRows


class AlteredTexts(TextRows):
    """Rows of text of which `alter` makes what is read. When scored, each row is an example, altered always in one way.

    Losses are over some tokens of a text, which stand for no number of its bytes: there are no bits per byte.
    """

    settings: list[Any]
    """What `alter` depends on, besides tokenizer and seed."""

    @property
    def recipe(self) -> list[Any]:
        return self.settings

    def predictions(self, scored: Scored) -> Iterator[Prediction]:
        """One line per text of the test split that has a label, in order; of a text scored in part, that part."""
        loss, count = self._by_text("test", scored)
        for text in np.flatnonzero(count).tolist():
            yield Prediction(id=text, loss=float(loss[text]), tokens=int(count[text]))

    def by_source(self, split: str, scored: Scored) -> dict[str, float]:
        """The loss of each of several sources; nan for one of which nothing was scored."""
        store = self.store(split)
        if not isinstance(store, ConcatenatedStore):
            return {}
        loss, count = self._by_text(split, scored)
        ends = np.cumsum([one.num_documents for one in store.stores])[:-1]
        with np.errstate(invalid="ignore"):
            means = [
                part.sum() / of.sum() for part, of in zip(np.split(loss, ends), np.split(count, ends), strict=True)
            ]
        return {f"loss/{name}": float(mean) for name, mean in zip(self.source.parts, means, strict=True)}

    def _by_text(self, split: str, scored: Scored) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """[texts] sums of losses and counts, from those of the rows that the texts were cut into."""
        document, texts = self.scored_segments(split).document, self.store(split).num_documents
        rows = np.fromiter(scored.labels, np.int64, len(scored.labels))
        loss = np.array([scored.loss[row] for row in rows.tolist()], np.float64)
        count = np.array([scored.labels[row] for row in rows.tolist()], np.int64)
        return (
            np.bincount(document[rows], weights=loss, minlength=texts).astype(np.float64),
            np.bincount(document[rows], weights=count, minlength=texts).astype(np.int64),
        )
