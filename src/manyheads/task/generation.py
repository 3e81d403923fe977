"""Generation: learn to continue text, token by token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, final

import numpy as np
from torch import nn

from manyheads.baseline.base import Scores
from manyheads.baseline.generation import generators
from manyheads.data.concatenated import ConcatenatedStore
from manyheads.data.source import Source
from manyheads.data.store import TokenStore
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.metric.perplexity import Perplexity, WordPerplexity
from manyheads.task.answering import text_losses
from manyheads.task.base import Prediction, Scored, Shown
from manyheads.task.text_rows import TextRows
from manyheads.tokenizer.base import Tokenizer

PROMPT_CHARACTERS = 32


@final
class Generation(TextRows):
    """Language modelling on the texts of a source.

    Each text is preceded by the tokenizer's end-of-text token and followed by it; the end is a label too. Texts longer
    than a row are cut from their own start; no row sees across the border of a text. Raises UserError.

    Args:
        source: where the texts come from.
        tokenizer: makes tokens of them.
        seed: what the order of the training rows is made from.
        batch_size: rows in a training batch, per device.
        eval_batch_size: rows in a validation or test batch, per device; None: `batch_size`. No score depends on it.
        seq_len: tokens in a row, at most.
        pack: puts several short pieces of text into one training row. If false, each piece is a row, padded, and a batch
            has rows of about one length (but where sources are mixed, whose shares hold in every part of an epoch).
            Scoring never packs.
        num_workers: processes that load training batches; 0: this one.
        stride: tokens between the beginnings of windows when scoring; None: `seq_len`, no overlap. A smaller one gives
            each label more context, and takes longer.
        shuffle: whether training rows are permuted in each epoch.
    """

    heads = frozenset({"NextToken"})
    refuses: ClassVar[Mapping[str, str]] = {"encoder-decoder": "a text alone leaves its encoder nothing to read"}
    metrics = (Loss, Perplexity, BitsPerByte, Accuracy)
    output_metrics = (WordPerplexity,)
    monitor = "val/bits_per_byte"
    hint: ClassVar[str | None] = 'generate {run} "The function returns"'

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        seq_len: int = 256,
        pack: bool = True,
        num_workers: int = 0,
        stride: int | None = None,
        shuffle: bool = True,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size,
            seq_len=seq_len, pack=pack, num_workers=num_workers, shuffle=shuffle, stride=stride,
        )  # fmt: skip
        self._words: dict[str, int] = {}

    def watch(self, monitor: str) -> None:
        """Raises UserError for a score that only the end of a training has."""
        if monitor == f"val/{WordPerplexity.name}":
            raise UserError(
                f"callbacks.monitor={monitor} is computed at the end alone. Set callbacks.monitor={self.monitor}, which "
                "orders checkpoints as it would."
            )

    def num_words(self, split: str) -> int:
        """What white space parts in the texts of a split, as they are read: after any cleaning."""
        if split not in self._words:
            parts = self.source.parts.values()
            self._words[split] = sum(
                len(text.split()) for part in parts for texts in part.texts(split) for text in texts
            )
        return self._words[split]

    def baselines(self, split: str) -> Scores:
        """The unigram; none where train is a stream."""
        if "train" not in self._cached:
            return {}
        key = [self.source.fingerprint, split]
        return generators(self.store("train"), self.store(split), self.tokenizer, self.num_words(split), key)

    def prompts(self, count: int) -> list[Shown]:
        """The first characters of validation texts (of rows, where they are joined) that stand evenly apart."""
        store = self.store("validation")
        joined = list(self.source.parts.values())[-1].join_rows
        last = len(store.piece_ends) - (3 if joined else 2)  # the end of a joined text is a piece too
        chosen = np.linspace(0, last, count).astype(np.int64)
        texts = [self._beginning(store, int(end) + 1) for end in store.piece_ends[chosen]]
        return [Shown(text, ids) for text, ids in zip(texts, self.tokenizer.encode_batch(texts), strict=True)]

    def predictions(self, scored: Scored) -> Iterator[Prediction]:
        """One line per text of the test split, in order; texts of which not every label was scored are left out."""
        loss, count, store = scored.loss, scored.labels, self.store("test")
        sizes = np.diff(store.bytes_until(store.document_starts)).tolist()
        labels = np.diff(store.document_starts).tolist()
        for example in sorted(example for example in count if count[example] == labels[example]):
            yield Prediction(
                id=example,
                loss=loss[example],
                tokens=count[example],
                bytes=sizes[example],
                bits_per_byte=loss[example] / math.log(2) / sizes[example],
            )

    def answers(self, network: nn.Module, head: Head) -> Iterator[Prediction]:
        """How well a trained network predicts each row of the test split, in order."""
        return text_losses(self, network, head)

    def of_split(self, split: str, scored: Scored) -> dict[str, float]:
        """The perplexity per word; none of a split of which not every label was scored."""
        if sum(scored.labels.values()) != self.store(split).num_tokens:
            return {}
        return {WordPerplexity.name: WordPerplexity().score(list(scored.loss.values()), [self.num_words(split)])}

    def by_source(self, split: str, scored: Scored) -> dict[str, float]:
        """Bits per byte of each of several sources; nan for one of which not every label was scored."""
        store = self.store(split)
        if not isinstance(store, ConcatenatedStore):
            return {}
        scores = zip(self.source.parts, store.bits_per_byte(scored.loss, scored.labels), strict=True)
        return {f"bits_per_byte/{name}": score for name, score in scores}

    def _beginning(self, store: TokenStore, start: int) -> str:
        stream, text = self.tokenizer.stream(), ""
        for place in range(start, len(store.tokens)):
            token = int(store.tokens[place])
            if token == self.tokenizer.end_id or len(text) >= PROMPT_CHARACTERS:
                break
            text += stream.step(token)
        return text[:PROMPT_CHARACTERS]
