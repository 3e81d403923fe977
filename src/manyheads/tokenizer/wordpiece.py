"""WordPiece, trained on the training split alone."""

from __future__ import annotations

import json
from collections import Counter

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
    characters: Counter[str] = Counter()
    for texts in source.texts("train"):
        for text in texts:
            characters.update(text)
    commonest = sorted(characters, key=lambda character: (-characters[character], character))[:limit_alphabet]
    # the library takes pieces of one character in an order that changes from run to run, unless it is given them
    alphabet = sorted(_trained(source, 0, min_frequency, commonest, [UNKNOWN]).keys() - {UNKNOWN})
    check_holds_alphabet(vocab_size, len(alphabet) + _FIXED, ", or a smaller tokenizer.limit_alphabet")
    vocab = _trained(source, vocab_size - 1, min_frequency, commonest, [UNKNOWN, *alphabet])
    check_filled(vocab_size, len(vocab) + 1)
    backend = tokenizers.Tokenizer(models.WordPiece(vocab=vocab, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return with_end(backend, "wordpiece", lossless=False)


def _trained(source: Source, size: int, min_frequency: int, characters: list[str], first: list[str]) -> dict[str, int]:
    """Pieces and their ids: those named first, then what fills up the size."""
    trained = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=first,
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        show_progress=False,
    )
    trained.train_from_iterator(source.texts("train"), trainer=trainer)
    return json.loads(trained.to_str())["model"]["vocab"]
