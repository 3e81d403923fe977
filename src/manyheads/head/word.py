"""What the heads of word vectors have in common: a second vector for each word, as a context of others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from manyheads.head.base import Head

WORDS_ALONE: Mapping[str, str] = dict.fromkeys(
    ("skip-gram", "cbow", "co-occurrence"), "it has a vector for each word, and nothing that reads a text"
)
"""Why networks of these kinds go with no other head."""

OF_TEXTS: Mapping[str, str] = dict.fromkeys(
    ("causal", "bidirectional", "encoder-decoder", "counting"),
    "it learns the vectors of single words, and reads no texts",
)
"""Why networks that read texts do not go with these heads."""


class WordHead(Head):
    """Learns the vectors of words together with a network that has one for each.

    `contexts` holds the second vector of each word [V, D].
    """

    contexts: nn.Embedding

    @abstractmethod
    def vectors(self, embedding: Tensor) -> Tensor:
        """The vectors of words [V, D] that are of use when all is learned, given the network's."""

    def further_flops(self, seq_len: int, training: bool) -> int:
        """The product of two vectors; each further word that a pair is held against costs as much again."""
        return 2 * self.contexts.embedding_dim
