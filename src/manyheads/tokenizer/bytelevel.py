"""What the byte and the byte-level BPE tokenizers have in common: bytes written as visible characters."""

from __future__ import annotations

import tokenizers
from tokenizers import AddedToken, decoders, models

from manyheads.tokenizer.base import END, Tokenizer

NUM_BYTES = 256


def byte_characters() -> list[str]:
    """The character that stands for each byte 0..255 in byte-level vocabularies.

    Source: GPT-2 (Radford et al. 2019), `bytes_to_unicode` in github.com/openai/gpt-2/src/encoder.py: printable
    Latin-1 characters stand for themselves, the others are moved up from 256 on, in order.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    characters, moved = [], NUM_BYTES
    for byte in range(NUM_BYTES):
        characters.append(chr(byte if byte in printable else moved))
        moved += byte not in printable
    return characters


def with_end(backend: tokenizers.Tokenizer, name: str, *, lossless: bool = True) -> Tokenizer:
    """A tokenizer over `backend`, END added as its last id."""
    backend.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    return Tokenizer(backend, name=name, lossless=lossless)


def byte_level(vocab: dict[str, int], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    """A byte-level BPE backend without a pre-tokenizer's splits."""
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.decoder = decoders.ByteLevel()
    return backend
