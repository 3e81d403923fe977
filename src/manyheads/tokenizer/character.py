"""One token for each character of the training split."""

from __future__ import annotations

import tokenizers
from tokenizers import decoders, models

from manyheads.data.source import Source
from manyheads.marks import builder
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bytelevel import NUM_BYTES, with_end
from manyheads.tokenizer.training import trained_once

_LAYOUT = 1


@builder
def character(*, source: Source) -> Tokenizer:
    """Ids: the training split's characters by code point, the 256 bytes, the end of a text.

    A character that training did not see is written as the bytes of its UTF-8, so that no text loses anything and bits
    per byte stay comparable.
    """
    return trained_once("character", source, [_LAYOUT], lambda: _train(source))


def _train(source: Source) -> Tokenizer:
    seen: set[str] = set()
    for texts in source.texts("train"):
        seen.update(*texts)
    tokens = [*sorted(seen), *(f"<0x{byte:02X}>" for byte in range(NUM_BYTES))]
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return with_end(backend, "character")
