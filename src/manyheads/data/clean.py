"""Texts changed before any tokenizer sees them: Unicode form, parts of speech, stop words, case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from manyheads.data.cache import cached, fingerprint
from manyheads.data.derived import RAW_BYTES, Derived
from manyheads.data.fields import TEXT, Fields
from manyheads.data.source import Source
from manyheads.data.split import BATCH_ROWS, windows
from manyheads.data.tables import quiet, read_shards
from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from manyheads.data.stream import RowStream

UnicodeForm = Literal["NFC", "NFD", "NFKC", "NFKD"]

_LAYOUT = 1
_WORD = re.compile(r"(\w+(?:['’]\w+)*)[^\S\n]*")


class Step:
    """One change of texts.

    Attributes:
        said: what it is, for the screen.
        key: what stands for it in a fingerprint.
        change: the changed texts of a list of texts, each depending on its own text alone.
    """

    def __init__(self, said: str, key: object, change: Callable[[Sequence[str]], list[str]]) -> None:
        self.said = said
        self.key = key
        self.change = change


def unicode_form(form: UnicodeForm) -> Step:
    """Unicode's normal form (Unicode Standard Annex 15): NFC composes accents, NFD takes them apart; NFKC and NFKD also
    write compatibility characters (ligatures, full-width letters) plainly."""
    version = unicodedata.unidata_version
    return Step(form, [form, version], lambda texts: [unicodedata.normalize(form, text) for text in texts])


def lower_case() -> Step:
    """Lower case, as Python's `str.lower`."""
    return Step("lower case", ["lower", unicodedata.unidata_version], lambda texts: [text.lower() for text in texts])


def without_words(words: frozenset[str], said: str) -> Step:
    """Leaves out words, whatever their case, with the spaces behind them. A word is letters, digits and inner apostrophes."""

    def kept(found: re.Match[str]) -> str:
        return "" if found[1].casefold() in words else found[0]

    return Step(said, ["words", sorted(words)], lambda texts: [_WORD.sub(kept, text) for text in texts])


def stop_words(given: str | Sequence[str]) -> Step:
    """Leaves out stop words: a list, a file with a word a line, or the code of a language whose list spaCy has.

    Raises UserError when the text names neither a file nor such a language.
    """
    words = _words_named(given) if isinstance(given, str) else given
    found = frozenset(word.strip().casefold().replace("’", "'") for word in words if word.strip())
    found |= {word.replace("'", "’") for word in found}
    if not found:
        raise UserError(f"data.stop_words={given}: there is no word. Set a list of words, or null.")
    distinct = len({word.replace("’", "'") for word in found})
    return without_words(found, f"without {distinct:,} stop word{'s' if distinct > 1 else ''}")


def _words_named(name: str) -> list[str]:
    path = Path(name).expanduser()
    if path.is_file():
        return path.read_text(encoding="utf-8").split("\n")
    try:
        import spacy.util  # pyright: ignore[reportMissingImports]

        return sorted(spacy.util.get_lang_class(name).Defaults.stop_words)
    except ModuleNotFoundError as error:
        raise UserError(
            f"data.stop_words={name} is no file, and lists by language come with spaCy: pip install 'manyheads[spacy]'.\n"
            "Or set a list of words, such as data.stop_words=[the,a]."
        ) from error
    except ImportError as error:
        raise UserError(
            f"data.stop_words={name} is neither a file nor the code of a language that spaCy knows, such as en or de. "
            "Set one, or a list of words."
        ) from error


@final
class Cleaned(Derived):
    """The rows of a source with their texts changed by some steps, in order; kept in the cache.

    A row whose text is gone stays, so that bytes of raw text, which scores are divided by, are the same as without.
    """

    def __init__(self, inner: Source, steps: Sequence[Step]) -> None:
        super().__init__(inner)
        self._steps = steps

    @property
    def fingerprint(self) -> str:
        return fingerprint("clean", _LAYOUT, self.inner.fingerprint, [step.key for step in self._steps])

    @property
    def notes(self) -> list[str]:
        said = ", ".join(step.said for step in self._steps)
        return [*self.inner.notes, f"texts are cleaned: {said}; bits per byte counts the bytes before it"]

    def uncut(self) -> Source:
        return Cleaned(self.inner.uncut(), self._steps)

    def stream(self) -> RowStream | None:
        stream = self.inner.stream()
        return None if stream is None else stream.changed(self._changed)

    def load(self, split: str) -> Dataset:
        def make(folder: Path) -> None:
            with quiet():
                for shard, rows in enumerate(windows(lambda: self.inner.rows(split))):
                    self._write(rows, str(folder / f"{shard:05d}.arrow"))

        key = () if self.fields == TEXT else (self.fields,)
        return read_shards(cached("rows", fingerprint(self.fingerprint, split, *key), make))

    def ask(self, fields: Fields) -> None:
        """Asks the source. Raises UserError for rows in which no text stands by itself."""
        if not fields.plain_texts:
            raise UserError(
                f"data: texts within {fields.required[0]} are not cleaned. Leave out "
                f"{', '.join(step.said for step in self._steps)}."
            )
        super().ask(fields)

    def _write(self, rows: Dataset, file: str) -> None:
        from datasets import Value

        features = rows.features.copy()
        if self.fields == TEXT:
            features[RAW_BYTES] = Value("int64")
        rows.map(
            self._change,
            batched=True,
            batch_size=BATCH_ROWS,
            features=features,
            cache_file_name=file,
            load_from_cache_file=False,
            new_fingerprint=fingerprint(file),
        )

    def _change(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        before = {field: [text or "" for text in batch[field]] for field in self.fields.plain_texts}
        changed = {field: self._changed(texts) for field, texts in before.items()}
        if self.fields != TEXT:
            return changed
        return {**changed, RAW_BYTES: batch.get(RAW_BYTES) or [len(text.encode()) for text in before["text"]]}

    def _changed(self, texts: list[str]) -> list[str]:
        for step in self._steps:
            texts = step.change(texts)
        return texts
