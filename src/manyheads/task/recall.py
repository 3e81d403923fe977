"""Recall: say the value of a key that was named before, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple, final

import torch

from manyheads.batch import IGNORE, Batch
from manyheads.data.recall import FILLER, MARK
from manyheads.data.source import SPLITS, Source
from manyheads.errors import UserError
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.loss import Loss
from manyheads.task.altered_texts import AlteredTexts
from manyheads.tokenizer.base import Tokenizer

LOOKED_AT = 100
"""Training texts of which it is found out whether the tokenizer leaves their characters alone."""


class AnswersAlone(NamedTuple):
    """Of rows of `data=recall`, what follows on each question stays a label, and nothing else. Nothing is drawn."""

    end_id: int  # stands before each text, and where a row is padded
    mark_id: int  # parts what is to be kept from the questions
    filler_id: int  # stands between questions

    def __call__(self, batch: Batch, keys: Sequence[Sequence[int]]) -> Batch:
        """The batch with IGNORE in the place of all other labels."""
        ids = batch["input_ids"]
        marks, ends = ids == self.mark_id, ids == self.end_id
        # each text has one mark, behind which keys and values come by turns
        behind = (marks.cumsum(1) == ends.cumsum(1)) & ~marks & (ids != self.filler_id)
        asks = behind & (behind.cumsum(1) % 2 == 1)
        return Batch(**{**batch, "labels": torch.where(asks, batch["labels"], IGNORE)})  # type: ignore[typeddict-item]


@final
class Recall(AlteredTexts):
    """Multi-query associative recall (Arora et al. 2023, "Zoology", section 3) on the rows of `data=recall`: keys with their
    values, then keys again, of which the value is to be told. Accuracy is the share of values told right.

    Args:
        source: `data=recall`.
        tokenizer: one that leaves each character a token of its own.
        seed: what the order of the training rows is made from.
        batch_size: rows in a training batch, per device.
        eval_batch_size: rows in a validation or test batch, per device; None: `batch_size`. No score depends on it.
        seq_len: tokens in a row, at most; a text must fit.
        pack: puts several texts into one training row where they fit.
        num_workers: processes that load training batches; 0: this one.
        shuffle: whether training rows are permuted in each epoch.

    Raises UserError for data and tokenizers that it is nothing for.
    """

    heads = frozenset({"NextToken"})
    refuses: ClassVar[Mapping[str, str]] = {"encoder-decoder": "a text alone leaves its encoder nothing to read"}
    metrics = (Loss, Accuracy)
    monitor = "val/accuracy"

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        seq_len: int = 128,
        pack: bool = False,
        num_workers: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size,
            seq_len=seq_len, pack=pack, num_workers=num_workers, shuffle=shuffle,
        )  # fmt: skip
        self.settings = ["answers alone"]
        signs = tokenizer.encode_batch([MARK, FILLER])
        if any(len(sign) != 1 for sign in signs):
            raise UserError("tokenizer: task=recall needs a token for each character. Set tokenizer=character.")
        ((mark,), (filler,)) = signs
        self.alter = AnswersAlone(tokenizer.end_id, mark, filler)

    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        """Tokenizes the splits. Raises UserError for texts of which answers cannot be told, and for those that do not fit."""
        splits = list(splits)
        super().prepare(splits)
        for split in splits:
            texts = next(iter(self.source.texts(split)))[:LOOKED_AT]
            if any(len(ids) != len(text) for text, ids in zip(texts, self.tokenizer.encode_batch(texts), strict=True)):
                raise UserError("tokenizer: task=recall needs a token for each character. Set tokenizer=character.")
            store, mark = self.store(split), self.alter.mark_id  # type: ignore[union-attr]
            if int(store.token_counts(self.tokenizer.vocab_size)[mark]) != store.num_documents:
                raise UserError(f"data ({self.source.name}): task=recall reads rows of questions. Set data=recall.")
            longest = int((store.document_starts[1:] - store.document_starts[:-1]).max())
            if longest > self.seq_len:
                raise UserError(
                    f"task.seq_len={self.seq_len}: a text has {longest} tokens, and in parts it could not be answered. "
                    f"Set task.seq_len={longest}, or a smaller data.length."
                )
