"""Whole words, the frequent ones of the training split."""

from __future__ import annotations

import json
from typing import Literal

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from manyheads.data.source import Source
from manyheads.errors import UserError, check_range
from manyheads.marks import builder
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bytelevel import with_end
from manyheads.tokenizer.training import trained_once

UNKNOWN = "[UNK]"
_LAYOUT = 1
_FIXED = 2  # UNKNOWN and the end of a text
_ALL = 2**31 - 1

SPLITS = {"punctuation": pre_tokenizers.BertPreTokenizer, "spaces": pre_tokenizers.WhitespaceSplit}
"""Where a text is cut into words."""


@builder
def word(
    *,
    source: Source,
    min_count: int = 5,
    vocab_size: int | None = None,
    lower_case: bool = False,
    split: Literal["punctuation", "spaces"] = "punctuation",
) -> Tokenizer:
    """One token for each word of the training split that is there `min_count` times, the commonest first; each other word
    is one unknown token.

    White space is lost, and so is a rare word: decoded text is not the text. Ids: unknown, words, the end of a text.

    Args:
        source: its "train" texts are read, no other.
        min_count: a word that is rarer is unknown.
        vocab_size: number of ids at most, the commonest words first; null: every word that is common enough.
        lower_case: reads and writes everything in lower case.
        split: punctuation makes each of its signs a word, as WordPiece does; spaces cuts at white space alone, for texts
            whose words stand apart already.

    Raises UserError when no word of the training split is common enough.
    """
    check_range("tokenizer.min_count", min_count, 1)
    if vocab_size is not None:
        check_range(
            "tokenizer.vocab_size", vocab_size, _FIXED + 1, hint="2 are the unknown token and the end of a text."
        )
    settings = [_LAYOUT, min_count, vocab_size, lower_case, split]
    return trained_once("word", source, settings, lambda: _train(source, min_count, vocab_size, lower_case, split))


def _train(source: Source, min_count: int, vocab_size: int | None, lower_case: bool, split: str) -> Tokenizer:
    def backend(model: models.WordLevel) -> tokenizers.Tokenizer:
        made = tokenizers.Tokenizer(model)
        made.pre_tokenizer = SPLITS[split]()
        if lower_case:
            made.normalizer = normalizers.Lowercase()
        return made

    trained = backend(models.WordLevel(unk_token=UNKNOWN))
    trainer = trainers.WordLevelTrainer(
        vocab_size=_ALL if vocab_size is None else vocab_size - 1,
        min_frequency=min_count,
        special_tokens=[UNKNOWN],
        show_progress=False,
    )
    trained.train_from_iterator(source.texts("train"), trainer=trainer)
    vocab: dict[str, int] = json.loads(trained.to_str())["model"]["vocab"]
    if len(vocab) == 1:
        raise UserError(
            f"tokenizer.min_count={min_count}: no word of the training split is there so often. Set it lower, or more data."
        )
    return with_end(backend(models.WordLevel(vocab=vocab, unk_token=UNKNOWN)), "word", lossless=False)
