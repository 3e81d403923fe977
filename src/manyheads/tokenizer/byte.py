"""The tokenizer that needs no training: one token for each byte of UTF-8."""

from __future__ import annotations

from tokenizers import pre_tokenizers

from manyheads.data.source import Source
from manyheads.marks import builder
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bytelevel import byte_characters, byte_level, with_end


@builder
def byte(*, source: Source) -> Tokenizer:
    """256 ids equal to the bytes' values, and 256 for the end of a text. The source is not read."""
    backend = byte_level({character: value for value, character in enumerate(byte_characters())}, [])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return with_end(backend, "byte")
