"""What word vectors are worth: their neighbours, analogies and similarities."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.data.word_tests import Analogy, Pair, read_analogies, read_similarities
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head
from manyheads.head.word import WordHead
from manyheads.metric.analogies import Analogies, answered
from manyheads.metric.neighbours import nearest, unit
from manyheads.metric.output import OutputMetric
from manyheads.metric.similarity import Similarity
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.words import Words

SHOWN, FREQUENT = 10, 1000
"""How many words have their neighbours shown, and out of how many of the most frequent ones."""


class Neighbours(NamedTuple):
    """What is nearest to a word."""

    word: str
    nearest: list[tuple[str, float]]  # with their cosines, the nearest first


@final
class WordScores:
    """Reads the vectors of a network and its head once a split is scored, and tests them: an `OutputReader`.

    Args:
        tokenizer: whose tokens the words are.
        counts: [V] how often each word is in the training texts, asked for when the shown words are chosen.
        neighbours: how many of each word.
        words: those whose neighbours are shown; None: SHOWN of the FREQUENT most frequent words, evenly spread.
        analogies, similarities: files; see `read_analogies` and `read_similarities`.

    Attributes:
        while_training: whether the validations of a training test them too.
        signatures: what was tested in each split that was scored, by the names of metrics.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        counts: Callable[[], NDArray[np.int64]],
        *,
        neighbours: int,
        words: Sequence[str] | None,
        analogies: str | None,
        similarities: str | None,
    ) -> None:
        check_range("task.neighbours", neighbours, 1)
        self.words = Words(tokenizer)
        self.neighbours = neighbours
        self.while_training = False
        self.signatures: dict[str, dict[str, str]] = {}
        self._counts = counts
        self._asked = words
        self._files = {Analogies: analogies, Similarity: similarities}
        self._read: Tensor | None = None
        self.vectors: Tensor | None = None  # [V, D] of the last split that was scored

    @property
    def metrics(self) -> tuple[type[OutputMetric], ...]:
        """What there is a file for."""
        return tuple(metric for metric, file in self._files.items() if file is not None)

    def watch(self, monitor: str) -> None:
        """Is told which score picks the best weights."""
        self.while_training = monitor.removeprefix("val/") in {metric.name for metric in self.metrics}

    def check(self) -> None:
        """Reads the files. Raises UserError for one that is none, and for a shown word that has no token."""
        _ = self.questions, self.pairs, self.shown

    @functools.cached_property
    def questions(self) -> tuple[list[Analogy], Tensor]:
        """The analogies whose words are all known, and their tokens [N, 4]."""
        file = self._files[Analogies]
        found = [] if file is None else read_analogies(file, "task.analogies")
        tokens = [[self.words.id_of(word) for word in one.words] for one in found]
        self._all_questions = len(found)
        return self._known(found, tokens, 4)

    @functools.cached_property
    def pairs(self) -> tuple[list[Pair], Tensor]:
        """The pairs whose words are both known, and their tokens [N, 2]."""
        file = self._files[Similarity]
        found = [] if file is None else read_similarities(file, "task.similarities")
        self._all_pairs = len(found)
        return self._known(found, [[self.words.id_of(one.first), self.words.id_of(one.second)] for one in found], 2)

    def _known(self, found: list[Any], tokens: list[list[int | None]], width: int) -> tuple[list[Any], Tensor]:
        kept = [(one, ids) for one, ids in zip(found, tokens, strict=True) if None not in ids]
        ids = torch.tensor([ids for _, ids in kept], dtype=torch.int64).view(-1, width)
        return [one for one, _ in kept], ids

    @functools.cached_property
    def shown(self) -> list[int]:
        """The tokens whose neighbours are shown. Raises UserError for a word that has none."""
        if self._asked is None:
            return frequent(self._counts(), self.words)
        tokens = {word: self.words.id_of(word) for word in self._asked}
        for word, token in tokens.items():
            if token is None:
                raise UserError(
                    f"task.words: {word!r} is no word of the vocabulary. Set words that the training texts have."
                )
        return [token for token in tokens.values() if token is not None]

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> None:
        """Takes the vectors, once for each split; nothing is read of the batch."""
        if self._read is None:
            self._read = vectors_of(network, head)

    def scores(self, split: str, outputs: Mapping[int, Any]) -> dict[str, float]:
        """The scores that there are files for; of no batch none."""
        vectors, self._read = self._read, None
        if vectors is None:
            return {}
        self.vectors = vectors
        tests = {Analogies: self._analogies, Similarity: self._similarity}
        found = {metric.name: tests[metric](vectors) for metric in self.metrics}
        self.signatures[split] = {name: told for name, (_, told) in found.items()}
        return {name: score for name, (score, _) in found.items()}

    def _analogies(self, vectors: Tensor) -> tuple[float, str]:
        """The score, and what was tested."""
        questions, tokens = self.questions
        found = answered(vectors, tokens[:, :3], torch.from_numpy(self.words.known)).tolist()
        right = tokens[:, 3].tolist()
        parts: dict[str, list[bool]] = {}
        for one, output, target in zip(questions, found, right, strict=True):
            parts.setdefault(one.section, []).append(output == target)
        sections = "; ".join(f"{name} {sum(told)} of {len(told)}" for name, told in parts.items() if name)
        told = (
            f"3CosAdd, {sum(map(sum, parts.values()))} of {len(found)} right{f' ({sections})' if sections else ''}, "
            f"{self._all_questions - len(found)} left out: a word is unknown"
        )
        return Analogies().score(found, right), told

    def _similarity(self, vectors: Tensor) -> tuple[float, str]:
        """The score, and what was tested."""
        pairs, tokens = self.pairs
        first, second = unit(vectors)[tokens].unbind(1)
        told = f"Spearman, {len(pairs)} pairs, {self._all_pairs - len(pairs)} left out: a word is unknown"
        return Similarity().score((first * second).sum(-1).tolist(), [one.score for one in pairs]), told

    def told(self) -> list[Neighbours]:
        """The neighbours of the shown words, by the vectors of the last split that was scored; none of none."""
        return [] if self.vectors is None else self.of(self.vectors, [[token] for token in self.shown])

    def of(self, vectors: Tensor, texts: Sequence[Sequence[int]]) -> list[Neighbours]:
        """The neighbours of texts of one token or more, of the mean of their vectors; no token of a text is one of its own."""
        asked = torch.stack([vectors[list(tokens)].mean(0) for tokens in texts]) if texts else vectors[:0]
        width = max(map(len, texts), default=1)
        without = torch.tensor([[*tokens, *[tokens[0]] * (width - len(tokens))] for tokens in texts]).view(-1, width)
        among = torch.from_numpy(self.words.known)
        ids, cosines = nearest(vectors, asked, among=among, without=without.long(), count=self.neighbours)
        named = [" ".join(map(self.words.text, tokens)) for tokens in texts]
        return [
            Neighbours(word, [(self.words.text(i), c) for i, c in zip(row, near, strict=True) if c > -torch.inf])
            for word, row, near in zip(named, ids.tolist(), cosines.tolist(), strict=True)
        ]


def vectors_of(network: nn.Module, head: Head) -> Tensor:
    """[V, D] float32, a copy on the CPU."""
    embedding = cast(nn.Embedding, network.embedding).weight
    return cast(WordHead, head).vectors(embedding).detach().float().cpu().clone()


def frequent(counts: NDArray[np.int64], words: Words) -> list[int]:
    """SHOWN tokens evenly spread over the FREQUENT most frequent ones that have a letter; all where there are fewer."""
    order = words.known[np.argsort(-counts[words.known], kind="stable")].tolist()
    lettered = [token for token in order[: 2 * FREQUENT] if any(map(str.isalpha, words.text(token)))][:FREQUENT]
    places = np.linspace(0, len(lettered), SHOWN + 1)[1:].astype(np.int64) - 1
    return [lettered[place] for place in dict.fromkeys(places.tolist()) if place >= 0]
