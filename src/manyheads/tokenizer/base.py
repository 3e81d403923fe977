"""Tokenizer: one class for all kinds, over the Rust tokenizers of the `tokenizers` library."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from typing import final

import tokenizers

END = "<|endoftext|>"
"""The token between texts, of the tokenizers that are trained here."""

_UNFINISHED = (
    "\N{REPLACEMENT CHARACTER}"  # what the end of a text decodes to while a character's last bytes are missing
)


@final
class Tokenizer:
    """Encodes and decodes plain text. Special tokens are never added, and never recognized in a text.

    Args:
        backend: the tokenizer; its truncation and padding are switched off.
        name: what the screen calls it, e.g. "bpe".
        lossless: whether decode(encode(text)) == text for every text.
        end: the backend's token that stands between texts.
        chat_template: how a dialogue is written, in Jinja, where the tokenizer has the markers for it; see `chat_template.py`.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        name: str,
        lossless: bool,
        end: str = END,
        chat_template: str | None = None,
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # "<|endoftext|>" inside a text is text
        end_id = backend.token_to_id(end)
        assert end_id is not None, f"the backend has no token {end}"
        self.backend = backend
        self.name = name
        self.lossless = lossless
        self.end = end
        self.end_id: int = end_id
        self.chat_template = chat_template

    @functools.cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @functools.cached_property
    def unknown_id(self) -> int | None:
        """The id that stands for what the vocabulary cannot spell; None when it can spell everything."""
        model = json.loads(self.backend.to_str())["model"]
        found = model.get("unk_id")
        return self.backend.token_to_id(model["unk_token"]) if found is None and model.get("unk_token") else found

    @functools.cached_property
    def fingerprint(self) -> str:
        """32 hex digits that stand for the tokenizer's content, whatever its name."""
        content = json.loads(self.to_json())
        content.pop("name")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def encode(self, text: str) -> list[int]:
        """Token ids of one text."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of several texts, encoded in parallel."""
        return [found.ids for found in self.backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; special tokens are left out, bytes that are no UTF-8 become U+FFFD."""
        return self.backend.decode(list(ids), skip_special_tokens=True)

    def decode_batch(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The texts of several lists of token ids, decoded in parallel."""
        return self.backend.decode_batch([list(one) for one in ids], skip_special_tokens=True)

    def stream(self) -> TextStream:
        """A decoder for ids that come one by one."""
        return TextStream(self)

    def to_json(self) -> str:
        """Everything about the tokenizer as one text, for `from_json`."""
        backend = json.loads(self.backend.to_str())
        fields = {"name": self.name, "lossless": self.lossless, "end": self.end, "backend": backend}
        if self.chat_template is not None:  # else the fingerprints of all others would change
            fields["chat_template"] = self.chat_template
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """The tokenizer that `to_json` wrote."""
        fields = json.loads(text)
        backend = tokenizers.Tokenizer.from_str(json.dumps(fields["backend"], ensure_ascii=False))
        settings = {name: fields.get(name) for name in ("name", "lossless", "end", "chat_template")}
        return cls(backend, **settings)

    def __reduce__(self) -> tuple[object, ...]:
        return Tokenizer.from_json, (self.to_json(),)


@final
class TextStream:
    """Turns ids that come one by one into text, never half a character; all pieces joined are `decode` of all ids.

    Only where ids spell bytes that are no UTF-8 may the two differ: a decoder with byte fallback looks ahead there.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []  # the last ids that were told, as context, then those not yet told
        self._told = 0  # how many of them were told

    def step(self, token: int) -> str:
        """The text that became complete with this id; "" while a character is unfinished."""
        self._ids.append(token)
        text = self._new_text()
        if not text or text.endswith(_UNFINISHED):
            return ""
        return self._tell(text)

    def flush(self) -> str:
        """What is left, at the end: an unfinished character as U+FFFD."""
        return self._tell(self._new_text())

    def _new_text(self) -> str:
        # some decoders treat the first token apart (a leading space), hence the told ids before
        before = self._tokenizer.decode(self._ids[: self._told])
        return self._tokenizer.decode(self._ids)[len(before) :]

    def _tell(self, text: str) -> str:
        self._ids = self._ids[self._told :]
        self._told = len(self._ids)
        return text
