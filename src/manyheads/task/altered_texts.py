"""Tasks that learn texts from what chance has made of them: masking and denoising."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyheads.baseline.base import TRAIN_ROWS, VERSION, Scores, evenly, kept
from manyheads.baseline.generation import unigram_of_labels
from manyheads.batch import IGNORE, Batch
from manyheads.data.altered import SCORED, TRAINED, AlteredRows
from manyheads.data.batches import PackedRows
from manyheads.data.cache import fingerprint
from manyheads.data.concatenated import ConcatenatedStore
from manyheads.data.packing import single
from manyheads.task.base import Prediction, Scored
from manyheads.task.text_rows import TextRows

AT_ONCE = 64
"""Rows that are counted together; no number depends on it."""


class AlteredTexts(TextRows):
    """Rows of text of which `alter` makes what is read. When scored, each row is an example, altered always in one way.

    Losses are over some tokens of a text, which stand for no number of its bytes: there are no bits per byte.
    """

    settings: list[Any]
    """What `alter` depends on, besides tokenizer and seed."""

    @property
    def recipe(self) -> list[Any]:
        return self.settings

    def baselines(self, split: str) -> Scores:
        """The unigram of what is learned: each label by its share of train's labels; none where train is a stream.

        Train's rows are altered as in a first epoch, those of the split as they are scored.
        """
        if "train" not in self._cached:
            return {}

        def compute() -> Scores:
            train = self._label_counts("train", scored=False)
            found = unigram_of_labels(train, self._label_counts(split, scored=True))
            return {"unigram": {metric.name: found[metric.name] for metric in self.metrics}}

        return kept(fingerprint("unigram of labels", VERSION, type(self).__qualname__, self.made_of, split), compute)

    def _label_counts(self, split: str, *, scored: bool) -> NDArray[np.int64]:
        """[V] how often each token is a label."""
        counts = np.zeros(self.tokenizer.vocab_size, np.int64)
        for batch in self.altered_rows(split, scored=scored):
            labels = batch["labels"].numpy()
            counts += np.bincount(labels[labels != IGNORE], minlength=len(counts))
        return counts

    def altered_rows(self, split: str, *, scored: bool) -> Iterator[Batch]:
        """Batches of the rows of a split as they are scored, or of TRAIN_ROWS of train at most, as in a first epoch."""
        store, segments = self.store(split), self.scored_segments(split)
        order = single(segments.length)
        alter = self.scored_by(split) if scored else self.trained_by(segments.document[order.members])
        assert alter is not None
        plain = PackedRows(store, segments, order, end_id=self.tokenizer.end_id, scoring=False)
        key, examples = (SCORED, order.members) if scored else (TRAINED, None)
        rows = AlteredRows(plain, alter, key=(self.seed, key), examples=examples)
        chosen = evenly(len(rows), len(rows) if scored else TRAIN_ROWS).tolist()
        for first in range(0, len(chosen), AT_ONCE):
            yield rows.__getitems__(chosen[first : first + AT_ONCE])

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
