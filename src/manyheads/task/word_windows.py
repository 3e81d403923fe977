"""Word vectors from windows of text: word2vec."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from manyheads.data.altered import Alter
from manyheads.data.source import Source
from manyheads.data.windows import FORMS, Windows
from manyheads.errors import check_range
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.loss import Loss
from manyheads.task.base import Prediction, Scored
from manyheads.task.word_task import WordTask
from manyheads.tokenizer.base import Tokenizer


@final
class WordWindows(WordTask):
    """Words are told from those around them, or those around them from them, among words that are drawn by their counts
    (Mikolov et al. 2013a and 2013b); `Windows` says how. Validation and test draw once for each row, from the seed and the
    row, so that no score depends on the batch size or on when it is taken.

    Args:
        source, tokenizer, seed, batch_size, eval_batch_size, seq_len, pack, num_workers, shuffle: see `TextRows`. Windows do not
            reach over the end of a row.
        kind: of the network, which says what is told from what.
        window: the most words on either side; each word draws a number from 1 to this.
        subsample: the share of all words above which a word is left out now and then (t); 0: none is.
        negatives: words that are drawn beside each that is told.
        negatives_power: they are drawn by their counts to this power.
        neighbours, words, analogies, similarities: see `WordScores`.

    Raises:
        UserError: a number is out of range; see also `WordTask`.
    """

    heads = frozenset({"NegativeSampling"})
    metrics = (Loss, Accuracy)

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        kind: str,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        seq_len: int = 256,
        pack: bool = True,
        num_workers: int = 0,
        shuffle: bool = True,
        window: int = 5,
        subsample: float = 1e-3,
        negatives: int = 5,
        negatives_power: float = 0.75,
        neighbours: int = 10,
        words: Sequence[str] | None = None,
        analogies: str | None = None,
        similarities: str | None = None,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size, seq_len=seq_len,
            pack=pack, num_workers=num_workers, shuffle=shuffle, neighbours=neighbours, words=words, analogies=analogies,
            similarities=similarities,
        )  # fmt: skip
        check_range("task.window", window, 1)
        check_range("task.subsample", subsample, 0, 1)
        check_range("task.negatives", negatives, 1)
        check_range("task.negatives_power", negatives_power, 0)
        self.form = FORMS[kind]
        self.window = window
        self.subsample = subsample
        self.negatives = negatives
        self.power = negatives_power
        self.settings = [kind, window, subsample, negatives, negatives_power]

    @functools.cached_property
    def alter(self) -> Alter:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What makes words to tell of rows; the words of the training texts are counted for it."""
        return Windows(
            self.form, self.counts, window=self.window, threshold=self.subsample, negatives=self.negatives, power=self.power
        )  # fmt: skip

    @property
    def summary(self) -> str:
        return f"{super().summary}, up to {self.window} words on either side, {self.negatives} drawn words beside each"

    def predictions(self, scored: Scored) -> Iterator[Prediction]:
        """One line per text of the test split, in order: the loss of its words to tell, and their number."""
        loss, count = self._by_text("test", scored)
        found: list[NDArray] = [np.arange(len(loss)), loss, count]
        for text, nats, words in zip(*(column.tolist() for column in found), strict=True):
            yield Prediction(id=text, loss=nats, tokens=words)
