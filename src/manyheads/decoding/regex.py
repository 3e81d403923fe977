"""Texts that match a regular expression, out of tokens that may be parts of words or of characters."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from manyheads.decoding.constraint import Constraint
from manyheads.errors import UserError, written
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.pieces import first_and_later

# otherwise, of all spellings of what can only go on in one way, one alone is allowed
_ALL_SPELLINGS = '%llguidance {"no_forcing": true}\n'

_DEAD_END = "NoExtensionBias"  # llguidance's word for: no token of the vocabulary goes on


@final
class Regex(Constraint):
    """Texts that match a regular expression as a whole, by the automaton of llguidance over the bytes of tokens.

    What has to match is what the new tokens decode to by themselves. The syntax is that of Rust's crate `regex`: Python's
    without look-around, \\b and backreferences. A text that is cut off at `max_new_tokens` is the beginning of one that
    matches. Raises UserError for an expression that cannot be read, and where llguidance is not installed.
    """

    def __init__(self, tokenizer: Tokenizer, pattern: str) -> None:
        self.name = f"regex={written(pattern)}"
        grammar = checked_grammar(pattern)
        import llguidance  # pyright: ignore[reportMissingImports]

        first, later = first_and_later(tokenizer)
        self._size, self._end = len(later), tokenizer.end_id
        # a token that is written otherwise at the beginning has a second id, for there
        self._shift = 0 if first == later else self._size
        spelled = _Vocabulary([*later, *(first if self._shift else [])], tokenizer.end_id)
        vocabulary = llguidance.LLTokenizer(llguidance.TokenizerWrapper(spelled))
        self._start = llguidance.LLMatcher(vocabulary, grammar, log_level=0)

    def allowed(self, new: Sequence[int]) -> Tensor:
        """[V] bool: the tokens after which the text can still become one that matches; the end where it does."""
        # from the start each time, which takes 0.3 ms for 700 tokens: the matcher cannot go back from an end
        matcher = self._start.deep_copy()
        matcher.consume_tokens([token + self._shift * (place == 0) for place, token in enumerate(new)])
        packed = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)
        mask = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)).bitwise_and(1).bool().flatten()
        if matcher.is_error():  # the mask holds the end then
            error = matcher.get_error()
            if not error.startswith(_DEAD_END):
                raise UserError(_told(self.name, error))
            return torch.zeros(self._size, dtype=torch.bool)
        start = 0 if new else self._shift
        allowed = mask[start : start + self._size].clone()
        allowed[self._end] = mask[self._end]
        return allowed


def checked_grammar(pattern: str) -> str:
    """The expression as llguidance takes it. Raises UserError where it cannot, and where it is not installed."""
    name = f"regex={written(pattern)}"
    if not isinstance(pattern, str) or not pattern:
        raise UserError(f"{name}: set a regular expression, in quotes.")
    if importlib.util.find_spec("llguidance") is None:
        raise UserError(f"{name} needs the package llguidance, which is not installed: pip install llguidance")
    import llguidance  # pyright: ignore[reportMissingImports]

    content = json.loads(llguidance.LLMatcher.grammar_from_regex(pattern))
    for grammar in content["grammars"]:
        grammar["lark_grammar"] = _ALL_SPELLINGS + grammar["lark_grammar"]
    text = json.dumps(content)
    if error := llguidance.LLMatcher.validate_grammar(text):
        raise UserError(_told(name, error))
    return text


def _told(name: str, error: str) -> str:
    """What is wrong, out of a message of many lines."""
    found = re.search(r"^error: (.*)$|\(in regex\): (?!regex parse error)(.*)$", error, re.MULTILINE)
    said = next(filter(None, found.groups())) if found else error.partition("\n")[0]
    return f"{name} cannot be used: {said}."


@dataclass
class _Vocabulary:
    """What llguidance asks of a tokenizer. It cuts no texts into tokens: nothing is forced."""

    tokens: list[bytes]
    eos_token_id: int
    bos_token_id: None = None
    special_token_ids: list[int] = field(default_factory=list)

    def __call__(self, text: str | bytes) -> list[int]:
        return []
