"""What each token writes, in bytes: at the beginning of a text, and after another token."""

from __future__ import annotations

import functools
import json
import re

from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bytelevel import byte_characters

_HIGH_BYTE = re.compile(r"<0x([89A-F][0-9A-F])>")  # a part of a character; lower ones are one
_HALF = "\N{REPLACEMENT CHARACTER}"


@functools.lru_cache(maxsize=1)
def first_and_later(tokenizer: Tokenizer) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The bytes of every id [V] as the first of a text, and after another one; none for what writes no text.

    Ids without text are the end, other special tokens, the unknown token and ids that no token has. Half a character is the
    bytes that it is, in byte-level vocabularies and those that fall back to bytes.
    """
    backend = tokenizer.backend
    kinds = set(re.findall(r'"type": ?"(\w+)"', json.dumps(json.loads(backend.to_str())["decoder"])))
    size = tokenizer.vocab_size
    first = [text.encode() for text in tokenizer.decode_batch([[token] for token in range(size)])]
    anchor = next(token for token, text in enumerate(first) if text.strip() and _HALF.encode() not in text)
    pairs = tokenizer.decode_batch([[anchor, token] for token in range(size)])
    later = [text.encode()[len(first[anchor]) :] for text in pairs]
    for token in range(size):
        name = backend.id_to_token(token)
        if name is None or token == tokenizer.unknown_id:
            first[token] = later[token] = b""
        elif not first[token] and not later[token]:
            continue  # special
        elif "ByteLevel" in kinds:
            first[token] = later[token] = _from_characters(name)
        elif "ByteFallback" in kinds and (found := _HIGH_BYTE.fullmatch(name)):
            first[token] = later[token] = bytes([int(found[1], 16)])
    return tuple(first), tuple(later)


_VALUES = {character: value for value, character in enumerate(byte_characters())}


def _from_characters(name: str) -> bytes:
    """The bytes that a byte-level token's characters stand for; an added token's are written as they are."""
    if all(character in _VALUES for character in name):
        return bytes(_VALUES[character] for character in name)
    return name.encode()
