"""What can be done to the texts of any source: the options that every data yaml has."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from manyheads.data.clean import Cleaned, Step, UnicodeForm, lower_case, stop_words, unicode_form
from manyheads.data.contamination import WithContamination
from manyheads.data.near_duplicates import WithoutNearDuplicates
from manyheads.data.part_of_speech import parts_of_speech
from manyheads.data.source import Source
from manyheads.errors import UserError, check_choice, check_range
from manyheads.marks import builder_with


@final
@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Cleaning, near duplicates and contamination; all off by default. They act in the order of this list.

    Args:
        unicode_form: Unicode's normal form (NFC, NFD, NFKC or NFKD) of every text.
        keep_pos: parts of speech that stay alone, as universal tags such as NOUN; needs spaCy.
        drop_pos: parts of speech that are left out; needs spaCy.
        pos_model: the spaCy pipeline that tags: a package or a folder.
        stop_words: words to leave out: a list, a file with one a line, or a language code (en) whose list spaCy has.
        lower_case: whether texts are put into lower case.
        near_duplicates: Jaccard similarity of the word n-grams, above 0, from which on a training row is left out that
            repeats an earlier one or a validation or test row; Lee et al. 2022 take 0.8.
        near_duplicates_ngram: words in such an n-gram.
        contamination: words in a row that a validation or test row may not share with train without being told; GPT-3
            took 13. Reads every split once more.

    Raises UserError for values out of range, and for what needs a library or a model that is not there.
    """

    unicode_form: UnicodeForm | None = None
    keep_pos: list[str] | None = None
    drop_pos: list[str] | None = None
    pos_model: str = "en_core_web_sm"
    stop_words: str | list[str] | None = None
    lower_case: bool = False
    near_duplicates: float | None = None
    near_duplicates_ngram: int = 5
    contamination: int | None = None

    def __post_init__(self) -> None:
        if self.unicode_form is not None:
            check_choice("data.unicode_form", self.unicode_form, typing.get_args(UnicodeForm))
        if self.near_duplicates is not None and not 0 < self.near_duplicates <= 1:
            raise UserError(f"data.near_duplicates={self.near_duplicates}: set a number above 0, at most 1, e.g. 0.8.")
        check_range("data.near_duplicates_ngram", self.near_duplicates_ngram, 1)
        if self.contamination is not None:
            check_range("data.contamination", self.contamination, 1, hint="It counts words; GPT-3 took 13.")

    def steps(self) -> list[Step]:
        """The changes of texts, in order."""
        tags = ((self.keep_pos, True), (self.drop_pos, False))
        return [
            *([unicode_form(self.unicode_form)] if self.unicode_form else []),
            *(parts_of_speech(chosen, keep=keep, model=self.pos_model) for chosen, keep in tags if chosen),
            *([stop_words(self.stop_words)] if self.stop_words else []),
            *([lower_case()] if self.lower_case else []),
        ]


def prepared(source: Source, options: TextOptions) -> Source:
    """The source with what the options ask for done to its texts; the source itself when they ask for nothing."""
    steps = options.steps()
    if steps:
        source = Cleaned(source, steps)
    if source.stream() is not None:
        _check_streamable(options)
    if options.near_duplicates is not None:
        source = WithoutNearDuplicates(source, options.near_duplicates, options.near_duplicates_ngram)
    return source if options.contamination is None else WithContamination(source, options.contamination)


def _check_streamable(options: TextOptions) -> None:
    """Raises UserError for what has to compare each row with all others."""
    for name in ("near_duplicates", "contamination"):
        value = getattr(options, name)
        if value is not None:
            raise UserError(
                f"data.{name}={value} compares all rows, and those of a stream are seen one by one. "
                f"Set data.{name}=null, or data.streaming=false."
            )


def source_builder(options: type[TextOptions]) -> Callable[[Callable[..., Source]], Callable[..., Source]]:
    """Marks a function as one that builds a source, and gives it the keyword arguments of `options` besides its own."""
    return builder_with(options, prepared)
