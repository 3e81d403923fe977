"""The bag of embeddings: a vector for each token and for each few tokens in a row, and nothing between them."""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.decoding.cache import TokenCache
from manyheads.errors import check_count
from manyheads.model.checks import check_fraction
from manyheads.model.places import places

FACTOR = 116049371
"""What a hash is multiplied by before the next token is added (`Dictionary::addWordNgrams` of fastText's dictionary.cc)."""


@final
class BagOfEmbeddings(nn.Module):
    """Token ids to hidden states, each the mean of the vectors of a token and of the n-grams that end with it in its segment.
    Under head=label with its pool=mean that is fastText's classifier (Joulin et al. 2017, section 2), but for the n-grams that
    a text's first tokens lack, which count as zeros here and not at all there.

    Args:
        vocab_size: V.
        dim: D, the width of the vectors.
        ngrams: the longest n-grams that have a vector; 1: tokens alone. With tokenizer=character they are those of characters.
        buckets: how many vectors n-grams of two tokens and more share, by their hash (2,000,000 in fastText).
        tie_embeddings: a head that scores tokens uses the vectors of tokens (Press and Wolf 2017).
        dropout: how likely a vector is left out of a mean in training, the others being raised as much.

    Raises:
        UserError: for numbers out of range.
    """

    kind: ClassVar[str] = "causal"
    max_positions: ClassVar[int | None] = None

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int = 64,
        ngrams: int = 2,
        buckets: int = 100_000,
        tie_embeddings: bool = False,
        dropout: float = 0.0,
    ) -> None:
        settings: dict[str, Any] = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        super().__init__()
        for key in ("vocab_size", "dim", "ngrams", "buckets"):
            check_count(f"model.{key}", settings[key])
        check_fraction("model.dropout", dropout)
        self.settings = settings
        self.vocab_size = vocab_size
        self.dim = dim
        self.ngrams = ngrams
        self.dropout = dropout
        self.embedding = nn.Embedding(vocab_size, dim)
        self.ngram_embedding = nn.Embedding(buckets, dim) if ngrams > 1 else None
        self.reset_parameters()

    @property
    def output_weight(self) -> nn.Parameter | None:
        """The vectors of tokens [V, D] when they are tied to the head's weight, else None."""
        weight = self.embedding.weight
        assert isinstance(weight, nn.Parameter)
        return weight if self.settings["tie_embeddings"] else None

    def reset_parameters(self) -> None:
        """Draws all vectors anew, uniform within 1 / D (fastText's `FastText::createRandomMatrix`)."""
        for table in (self.embedding, self.ngram_embedding):
            if table is not None:
                nn.init.uniform_(table.weight, -1 / self.dim, 1 / self.dim)

    def new_cache(self, batch_size: int, max_len: int) -> TokenCache:
        """An empty cache for `batch_size` rows of up to `max_len` positions, padding on the left included."""
        return TokenCache(batch_size=batch_size, max_len=max_len, kept=self.ngrams - 1)

    def forward(self, batch: Batch, cache: TokenCache | None = None) -> Tensor:
        """Hidden states [B, T, D]. With a cache the batch goes on from the tokens that it holds."""
        ids, before = batch["input_ids"], places(batch, 0 if cache is None else cache.length)
        back = self.ngrams - 1
        read = F.pad(ids, (back, 0)) if cache is None else cache.before(ids)
        total = self._drop(self.embedding(ids))
        if self.ngram_embedding is not None:
            hashes = torch.zeros_like(ids)
            # the newest token comes in first, so that each n-gram's hash goes on from that of the next shorter one
            for length, first in enumerate(range(back, -1, -1), 1):
                hashes = hashes * FACTOR + read[:, first : first + ids.shape[1]]
                if length > 1:
                    vectors = self._drop(self.ngram_embedding(hashes % self.ngram_embedding.num_embeddings))
                    total = total + vectors * (before >= length - 1)[..., None]
        return total / self.ngrams

    def _drop(self, vectors: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return vectors
        return vectors * F.dropout(torch.ones_like(vectors[..., :1]), self.dropout)
