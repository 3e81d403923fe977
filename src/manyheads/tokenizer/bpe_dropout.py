"""BPE-dropout: the words of a row cut otherwise than usual, by chance."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from manyheads.errors import UserError
from manyheads.tokenizer.base import Tokenizer

WAYS = 64
"""How many ways to cut a word are drawn."""

SPACE = ("Ġ", "▁", " ")
"""What a token that begins a word begins with, but for the first of a text."""


@final
class BpeDropout:
    """Cuts each word anew, in a way that BPE finds when it passes over each merge that is possible with probability `rate` at
    each step (Provilkov, Emelianenko and Voita, "BPE-Dropout", 2020, algorithm 1). The text stays; of a word `WAYS` ways are
    drawn once, and one of them is taken each time.

    Args:
        tokenizer: of BPE.
        rate: p; 0: as usual.

    Raises:
        UserError: for a tokenizer that does not merge.
    """

    def __init__(self, tokenizer: Tokenizer, rate: float) -> None:
        model = json.loads(tokenizer.backend.to_str())["model"]
        if model.get("type") != "BPE" or not model.get("merges"):
            raise UserError(
                f"task.bpe_dropout={rate}: tokenizer={tokenizer.name} does not merge pairs. Set tokenizer=bpe, or "
                "task.bpe_dropout=0."
            )
        self.rate = rate
        ids: Mapping[str, int] = model["vocab"]
        self.merges: dict[tuple[int, int], tuple[int, int]] = {}  # pair -> its rank, the token that it becomes
        self.parts: dict[int, tuple[int, int]] = {}
        for rank, merge in enumerate(model["merges"]):
            left, right = merge.split(" ") if isinstance(merge, str) else merge
            pair, whole = (ids[left], ids[right]), ids[left + right]
            self.merges[pair] = (rank, whole)
            self.parts.setdefault(whole, pair)
        self.begins = frozenset(number for token, number in ids.items() if token.startswith(SPACE))
        self._ways: dict[tuple[int, ...], list[list[int]]] = {}

    def __call__(self, tokens: NDArray[np.int32], key: Sequence[int]) -> NDArray[np.int32]:
        """The tokens of a row, cut anew; `key` is what its draws are made from."""
        draws = random.Random(json.dumps([int(part) for part in key]))
        cut: list[int] = []
        word: list[int] = []
        for token in tokens.tolist():
            if token in self.begins and word:
                cut += self._drawn(word, draws)
                word = []
            word.append(token)
        return np.array(cut + self._drawn(word, draws), np.int32)

    def _drawn(self, word: list[int], draws: random.Random) -> list[int]:
        name = tuple(word)
        ways = self._ways.get(name)
        if ways is None:
            chance = random.Random(json.dumps(word))
            symbols = [symbol for token in word for symbol in self._symbols(token)]
            ways = self._ways[name] = [self._cut(list(symbols), chance) for _ in range(WAYS)]
        return draws.choice(ways)

    def _symbols(self, token: int) -> list[int]:
        """What a token was merged from, in the end; a special token is itself."""
        if token not in self.parts:
            return [token]
        return [symbol for part in self.parts[token] for symbol in self._symbols(part)]

    def _cut(self, symbols: list[int], chance: random.Random) -> list[int]:
        while True:
            # no pair that was not in one word of the training text has a merge, so that no two words become one
            found = [
                (*self.merges[pair], place)
                for place, pair in enumerate(itertools.pairwise(symbols))
                if pair in self.merges and chance.random() >= self.rate
            ]
            if not found:
                return symbols
            _, whole, place = min(found, key=lambda one: (one[0], one[2]))
            symbols[place : place + 2] = [whole]
