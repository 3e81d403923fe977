"""The settings of generation, and which of them go together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, TypeVar, final

from manyheads.decoding.beam import Search
from manyheads.decoding.choices import Choices, check_choices
from manyheads.decoding.constraint import Constraint, Rules
from manyheads.decoding.regex import Regex, checked_grammar
from manyheads.decoding.sampling import COLDEST, Sampling, sampling
from manyheads.decoding.stop import StopText
from manyheads.errors import UserError, check_count, did_you_mean, written
from manyheads.signature import parameters
from manyheads.tokenizer.base import Tokenizer

T = TypeVar("T")

TEMPERATURE = 0.8
"""Where tokens are drawn and none is set."""


@final
@dataclass(frozen=True, kw_only=True)
class Options:
    """How texts are continued; the README and `manyheads generate --help` explain each.

    Raises UserError for a value out of range, and for two that do not go together.
    """

    max_new_tokens: int = 100
    temperature: float | None = None  # 0: always the likeliest token; None: 0.8, and 0 with beams
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0  # so many tokens in a row do not appear twice; 0: they may
    seed: int = 1
    num_beams: int = 1  # above 1: a search for the likeliest text
    length_penalty: float = 1.0  # of beams
    early_stopping: bool | Literal["never"] = False  # of beams
    choices: Sequence[str] | None = None  # the text is one of these
    regex: str | None = None  # the text matches this
    stop: str | Sequence[str] = ()
    num_samples: int = 1  # of each prompt; with beams, the best so many
    context: int | None = None  # most tokens read at once
    batch_size: int = 16  # texts side by side; changes the speed, never the texts

    def __post_init__(self) -> None:
        for key in ("max_new_tokens", "num_samples", "batch_size"):
            check_count(key, getattr(self, key))
        check_count("seed", self.seed, 0)
        self.sampling()
        Search(num_beams=self.num_beams, length_penalty=self.length_penalty, early_stopping=self.early_stopping)
        Rules(no_repeat_ngram=self.no_repeat_ngram)
        if self.context is not None:
            check_count("context", self.context)
        if not isinstance(self.stop, Sequence):
            raise UserError(f"stop={self.stop}: set a text or a list of texts.")
        StopText(self.stops)
        self._check_beams()
        self._check_constraint()

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, however they were given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def sampling(self) -> Sampling:
        """The strategy that the settings describe."""
        return sampling(
            temperature=TEMPERATURE if self.temperature is None else self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )

    def constraint(self, tokenizer: Tokenizer) -> Constraint | None:
        """What `choices` or `regex` leave of the tokens. Raises UserError for what the tokenizer cannot write."""
        return constraint_of(tokenizer, self.choices, self.regex, self.max_new_tokens, "max_new_tokens")

    def _check_beams(self) -> None:
        if self.num_beams == 1:
            for key in self._changed("length_penalty", "early_stopping"):
                raise UserError(
                    f"{key}={written(getattr(self, key))} is for beams: set num_beams to at least 2, or leave it out."
                )
            return
        beams = f"num_beams={self.num_beams}"
        if self.num_samples > self.num_beams:
            raise UserError(
                f"num_samples={self.num_samples} is more than {beams}: set at most as many as there are beams."
            )
        if self.temperature is not None and self.temperature >= COLDEST:
            raise UserError(
                f"temperature={self.temperature} does not go with {beams}, which draws nothing: set temperature=0, or leave it out."
            )
        for key in self._changed("top_k", "top_p", "min_p", "repetition_penalty", "stop"):
            raise UserError(f"{key}={written(getattr(self, key))} does not go with {beams}: leave one of them out.")

    def _check_constraint(self) -> None:
        if self.choices is not None and self.regex is not None:
            raise UserError(
                f"regex={self.regex} does not go with choices={written(self.choices)}: leave one of them out."
            )
        if self.choices is not None:
            check_choices(self.choices)
        if self.regex is not None:
            checked_grammar(self.regex)

    def _changed(self, *keys: str) -> list[str]:
        """Those of `keys` that are not at their defaults."""
        defaults = {each.name: each.default for each in fields(self)}
        return [key for key in keys if getattr(self, key) not in (defaults[key], [])]


class OptionValues(TypedDict, total=False):
    """The keyword arguments that make Options, `num_samples` apart."""

    max_new_tokens: int
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float
    no_repeat_ngram: int
    seed: int
    num_beams: int
    length_penalty: float
    early_stopping: bool | Literal["never"]
    choices: Sequence[str] | None
    regex: str | None
    stop: str | Sequence[str]
    context: int | None
    batch_size: int


def checked_options(kind: Callable[..., T], values: Mapping[str, Any], verb: str) -> T:
    """Options of a kind. Raises UserError for a name that it has not, with the nearest, and as the kind does."""
    known = parameters(kind)
    for name in values:
        if name not in known:
            raise UserError(f"{name} is no option of {verb}.{did_you_mean(name, known)}")
    return kind(**values)


def constraint_of(
    tokenizer: Tokenizer, choices: Sequence[str] | None, regex: str | None, room: int, key: str
) -> Constraint | None:
    """What a list of texts, or a regular expression, leaves of the tokens; None where neither is given. Raises UserError for
    both, for what the tokenizer cannot write, and for a choice that has no place in `room` tokens, which is the setting `key`."""
    if choices is not None and regex is not None:
        raise UserError(f"regex={regex} does not go with choices={written(choices)}: leave one of them out.")
    if regex is not None:
        return Regex(tokenizer, regex)
    if choices is None:
        return None
    found = Choices(tokenizer, choices)
    if found.longest >= room:
        raise UserError(
            f"{key}={room}: a choice of {found.longest} tokens and its end have no room; set at least {found.longest + 1}."
        )
    return found
