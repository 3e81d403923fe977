"""Word vectors from counts of words near each other: GloVe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import final

import numpy as np

from manyheads.data.cache import fingerprint
from manyheads.data.cooccurrence import Cooccurrences, CountRows, cooccurrences
from manyheads.data.loader import ResumableLoader
from manyheads.data.sampler import ResumableBatchSampler
from manyheads.data.source import SPLITS, Source
from manyheads.errors import UserError, check_range
from manyheads.metric.loss import Loss
from manyheads.task.base import Prediction, Scored
from manyheads.task.word_task import WordTask
from manyheads.tokenizer.base import Tokenizer


@final
class WordCounts(WordTask):
    """The vectors of two words tell how often they stand near each other (Pennington et al. 2014); `count` says what is counted,
    once for each text and window, and kept in the cache. An epoch is every pair that is there, each way round once.

    Counts of validation and test are scaled to the total of train's, whose size the learned numbers know. The smaller a split,
    the more of its pairs are there by chance, and the higher is its loss: it compares only with others on the same split.

    Args:
        source, tokenizer, seed, eval_batch_size, num_workers, shuffle: see `TextRows`.
        batch_size, pairs: a batch has `batch_size` times `pairs` pairs of words.
        window: the most places between two words.
        neighbours, words, analogies, similarities: see `WordScores`.

    Raises:
        UserError: a number is out of range; see also `WordTask`.
    """

    heads = frozenset({"Cooccurrence"})
    metrics = (Loss,)

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        pairs: int = 128,
        num_workers: int = 0,
        shuffle: bool = True,
        window: int = 5,
        neighbours: int = 10,
        words: Sequence[str] | None = None,
        analogies: str | None = None,
        similarities: str | None = None,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size, seq_len=1,
            pack=False, num_workers=num_workers, shuffle=shuffle, neighbours=neighbours, words=words, analogies=analogies,
            similarities=similarities,
        )  # fmt: skip
        check_range("task.window", window, 1)
        check_range("task.pairs", pairs, 1)
        self.window = window
        self.pairs = pairs
        self.settings = [window]
        self._tables: dict[str, Cooccurrences] = {}

    @property
    def summary(self) -> str:
        return f"{self.batch_size * self.pairs:,} pairs of words in a batch, up to {self.window} places apart"

    def table(self, split: str) -> Cooccurrences:
        """The counts of a split, made when first asked for. Raises UserError when no two words are near each other."""
        if split not in self._tables:
            known = np.zeros(self.tokenizer.vocab_size, bool)
            known[self.scorer.words.known] = True
            key = fingerprint(self.source.fingerprint, self.source.join_rows, self.tokenizer.fingerprint, split)
            tokens = self.store(split).tokens
            found = cooccurrences(tokens, known, self.tokenizer.end_id, self.window, key)
            if not len(found):
                raise UserError(
                    f"data ({self.source.name}): {split} has no two known words near each other. Set data with longer texts, or "
                    "another tokenizer."
                )
            self._tables[split] = found
        return self._tables[split]

    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        """Tokenizes and counts the splits, unless that is cached. Raises UserError."""
        splits = list(splits)
        super().prepare(splits)
        for split in splits:
            self.table(split)

    @property
    def tokens_per_epoch(self) -> int:
        """Pairs of the training split."""
        return len(self.table("train"))

    @property
    def made_of(self) -> str:
        """A fingerprint of the pairs and their order."""
        settings = [self.shuffle, self.seed, len(self.table("train")), *self.recipe]
        return fingerprint("pairs", self.source.fingerprint, self.tokenizer.fingerprint, settings)

    def training_loader(self) -> ResumableLoader:
        """Pairs of train, permuted anew in each epoch unless `shuffle` is false."""
        data = CountRows(self.table("train"), scoring=False)
        rank, world = self._rank()
        if len(data) < world:
            raise UserError(
                f"trainer.devices: {world} devices, but train has only {len(data)} pairs. Set fewer devices."
            )
        order = ResumableBatchSampler(
            len(data), self.batch_size * self.pairs, seed=self.seed, shuffle=self.shuffle, rank=rank, world=world
        )
        return ResumableLoader(data, order, num_workers=self.num_workers, pin=self._pin(), made_of=self.made_of)

    def _scoring(self, split: str) -> ResumableLoader:
        table, counted = self.table(split), self.table(self._counted)
        data = CountRows(table, scale=counted.total / table.total, scoring=True)
        rank, world = self._rank()
        order = ResumableBatchSampler(
            len(data), self.eval_batch_size * self.pairs, seed=self.seed, shuffle=False, rank=rank, world=world
        )
        return ResumableLoader(data, order, pin=self._pin())

    def by_source(self, split: str, scored: Scored) -> dict[str, float]:
        """None: a pair is of no one source."""
        return {}

    def predictions(self, scored: Scored) -> Iterator[Prediction]:
        """One line per word of the test split, by its token: the loss of its pairs, and their number."""
        for token in sorted(scored.loss):
            word = self.scorer.words.text(token)
            yield Prediction(id=token, input=word, loss=scored.loss[token], tokens=scored.labels[token])
