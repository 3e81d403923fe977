"""The unigram tokenizer, trained on the training split alone."""

from __future__ import annotations

import json

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from manyheads.data.source import Source
from manyheads.errors import check_range
from manyheads.marks import builder
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bytelevel import with_end
from manyheads.tokenizer.training import check_filled, check_holds_alphabet, trained_once

UNKNOWN = "<unk>"
_LAYOUT = 1
_FIXED = 2  # UNKNOWN and the end of a text
_DIGITS = 6  # the library adds in an order that changes from run to run: beyond these, so do scores
_NEVER = 1000.0  # nats below the rarest piece: no spelling of a text that holds "<unk>" is as unlikely


@builder
def unigram(*, source: Source, vocab_size: int = 2048, max_piece_length: int = 16) -> Tokenizer:
    """The unigram language model over pieces (Kudo 2018, "Subword Regularization", section 3.2), as SentencePiece uses
    it (Kudo and Richardson 2018): a text is cut into the likeliest sequence of pieces; spaces are part of them.

    Characters that training did not see are unknown, a run of them one token; everything else comes back as it was,
    but for the sign that stands for a space. Unlike SentencePiece's, texts get no space in front and keep their line
    breaks. Ids: unknown, pieces, the end of a text, `vocab_size` in all. Training takes some 20 times as long as BPE's.

    Args:
        source: its "train" texts are read, no other.
        vocab_size: number of ids.
        max_piece_length: characters in a piece, at most.

    Raises UserError when the training split cannot fill the vocabulary, or its characters overfill it.
    """
    check_range("tokenizer.vocab_size", vocab_size, _FIXED + 1, hint="2 are the unknown token and the end of a text.")
    check_range("tokenizer.max_piece_length", max_piece_length, 1)
    settings = [_LAYOUT, vocab_size, max_piece_length]
    return trained_once("unigram", source, settings, lambda: _train(source, vocab_size, max_piece_length))


def _train(source: Source, vocab_size: int, max_piece_length: int) -> Tokenizer:
    alphabet = set(_SPACE)
    for texts in source.texts("train"):
        alphabet.update(*texts)
    # the library stops with an error of its own at this
    check_holds_alphabet(vocab_size, len(alphabet - {" "}) + _FIXED, "")
    trained = tokenizers.Tokenizer(models.Unigram())
    trained.pre_tokenizer = _words()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=[UNKNOWN],
        unk_token=UNKNOWN,
        max_piece_length=max_piece_length,
        show_progress=False,
    )
    trained.train_from_iterator(source.texts("train"), trainer=trainer)
    check_filled(vocab_size, trained.get_vocab_size() + 1)
    # anew, without the mark that would hide unknown pieces from decoded text; and "<unk>" inside a text is text
    found = [(piece, round(score, _DIGITS)) for piece, score in json.loads(trained.to_str())["model"]["vocab"][1:]]
    found.sort(key=lambda item: (-item[1], item[0]))
    vocab = [(UNKNOWN, found[-1][1] - _NEVER), *found]
    backend = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=False))
    backend.pre_tokenizer = _words()
    backend.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="never")
    return with_end(backend, "unigram", lossless=False)


_SPACE = "▁"


def _words() -> pre_tokenizers.PreTokenizer:
    """Line breaks alone, and words with the space before them."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n+"), "isolated"),
            pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never"),
        ]
    )
