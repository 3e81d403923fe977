"""WordPiece, trained on the training split alone."""

from __future__ import annotations

import json
import sys

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from manyheads.data.source import Source
from manyheads.errors import check_range
from manyheads.marks import builder
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bytelevel import with_end
from manyheads.tokenizer.training import check_filled, check_holds_alphabet, trained_once

UNKNOWN = "[UNK]"
_LAYOUT = 1
_FIXED = 2  # UNKNOWN and the end of a text


@builder
def wordpiece(
    *, source: Source, vocab_size: int = 2048, min_frequency: int = 2, limit_alphabet: int | None = None
) -> Tokenizer:
    """WordPiece (Schuster and Nakajima 2012) as BERT reads it (Devlin et al. 2019): words and punctuation signs, each
    spelt by the longest pieces that fit, from the left; a piece that continues a word begins with ##.

    White space is lost, and a word that the pieces cannot spell is one unknown token: decoded text is not the text.
    The library finds the pieces by merging the commonest pairs. Ids: unknown, pieces, the end of a text, `vocab_size` in all.

    Args:
        source: its "train" texts are read, no other.
        vocab_size: number of ids.
        min_frequency: a pair that is rarer is not merged.
        limit_alphabet: the most different characters that get pieces, the commonest first; null: all.

    Raises UserError when the training split cannot fill the vocabulary, or its characters overfill it.
    """
    check_range("tokenizer.vocab_size", vocab_size, _FIXED + 1, hint="2 are the unknown token and the end of a text.")
    check_range("tokenizer.min_frequency", min_frequency, 1)
    if limit_alphabet is not None:
        check_range("tokenizer.limit_alphabet", limit_alphabet, 1)
    settings = [_LAYOUT, vocab_size, min_frequency, limit_alphabet]
    return trained_once(
        "wordpiece", source, settings, lambda: _train(source, vocab_size, min_frequency, limit_alphabet)
    )


def _train(source: Source, vocab_size: int, min_frequency: int, limit_alphabet: int | None) -> Tokenizer:
    trained = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=min_frequency,
        special_tokens=[UNKNOWN],
        limit_alphabet=limit_alphabet or sys.maxunicode,
        show_progress=False,
    )
    trained.train_from_iterator(source.texts("train"), trainer=trainer)
    reached = trained.get_vocab_size() + 1
    check_holds_alphabet(vocab_size, reached, ", or a smaller tokenizer.limit_alphabet")
    check_filled(vocab_size, reached)
    # anew, without the mark that would hide unknown pieces from decoded text
    vocab = json.loads(trained.to_str())["model"]["vocab"]
    backend = tokenizers.Tokenizer(models.WordPiece(vocab=vocab, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return with_end(backend, "wordpiece", lossless=False)
