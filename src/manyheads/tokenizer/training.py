"""What the tokenizers that are trained here have in common: once for each data and settings, then cached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from manyheads.data.cache import cached, fingerprint
from manyheads.data.source import Source
from manyheads.errors import UserError
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.file import FILE


def trained_once(kind: str, source: Source, settings: Sequence[object], train: Callable[[], Tokenizer]) -> Tokenizer:
    """What `train` returns, or returned before for the same kind, data and settings."""

    def make(folder: Path) -> None:
        (folder / FILE).write_text(train().to_json(), encoding="utf-8")

    key = fingerprint(kind, source.fingerprint, list(settings))
    return Tokenizer.from_json((cached("tokenizer", key, make) / FILE).read_text(encoding="utf-8"))


def check_filled(vocab_size: int, reached: int) -> None:
    """Raises UserError when training has found fewer pieces than were asked for, all ids counted."""
    if reached < vocab_size:
        raise UserError(
            f"tokenizer.vocab_size={vocab_size}: the training split fills only {reached}. "
            f"Set tokenizer.vocab_size={reached} or less, or more data."
        )


def check_holds_alphabet(vocab_size: int, needed: int, hint: str) -> None:
    """Raises UserError when the characters of the training split and the ids that are always there need more room."""
    if needed > vocab_size:
        raise UserError(
            f"tokenizer.vocab_size={vocab_size}: the characters of the training split alone fill {needed}. "
            f"Set tokenizer.vocab_size above {needed}{hint}."
        )
