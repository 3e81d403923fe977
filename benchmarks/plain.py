"""Networks of the families written by hand with torch.nn, and of transformers, of the shapes of ours: a batch to its loss.

They read what our loaders give, and know nothing of packed rows: text is one document, and padding is read along, as a
first version of such a network would.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.base import peer
from manyheads.batch import Batch


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over labels that are there."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


class Recurrent(nn.Module):
    """Embedding, torch's layers, and the embedding again."""

    def __init__(self, vocab_size: int, kind: type[nn.RNNBase], dim: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.layers = kind(dim, dim, layers, batch_first=True)  # type: ignore[call-arg]

    def forward(self, batch: Batch) -> Tensor:
        states, _ = self.layers(self.embedding(batch["input_ids"]))
        return cross_entropy(F.linear(states, self.embedding.weight), batch["labels"])


class Window(nn.Module):
    """tanh layers over the embeddings of a window."""

    def __init__(self, vocab_size: int, dim: int, window: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.window = window
        self.embedding = nn.Embedding(vocab_size, dim)
        sizes = [dim * window, *[hidden] * layers]
        parts = [part for size in itertools.pairwise(sizes) for part in (nn.Linear(*size), nn.Tanh())]
        self.layers = nn.Sequential(*parts, nn.Linear(hidden, dim, bias=False))

    def forward(self, batch: Batch) -> Tensor:
        x = self.embedding(F.pad(batch["input_ids"], (self.window - 1, 0)))
        states = self.layers(x.unfold(1, self.window, 1).flatten(2))
        return cross_entropy(F.linear(states, self.embedding.weight), batch["labels"])


class Filters(nn.Module):
    """Convolutions of several widths, the largest of each filter, and the classes."""

    def __init__(self, vocab_size: int, classes: int, dim: int, filters: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.filters = nn.ModuleList(nn.Conv1d(dim, filters, width, padding=width // 2) for width in widths)
        self.output = nn.Linear(filters * len(widths), classes)

    def forward(self, batch: Batch) -> Tensor:
        x = self.embedding(batch["input_ids"]).transpose(1, 2)
        pooled = torch.cat([torch.relu(one(x)).amax(-1) for one in self.filters], -1)
        return cross_entropy(self.output(pooled), batch["classes"])


class Bag(nn.Module):
    """The mean of the vectors of tokens and hashed pairs, and the classes."""

    def __init__(self, vocab_size: int, classes: int, dim: int, buckets: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.tokens, self.pairs = nn.Embedding(vocab_size, dim), nn.Embedding(buckets, dim)
        self.output = nn.Linear(dim, classes)

    def forward(self, batch: Batch) -> Tensor:
        ids = batch["input_ids"]
        pairs = (F.pad(ids, (1, 0))[:, :-1] * 116049371 + ids) % self.buckets
        vectors = (self.tokens(ids) + self.pairs(pairs)).mean(1) / 2
        return cross_entropy(self.output(vectors), batch["classes"])


class Translator(nn.Module):
    """An LSTM in both directions, another that begins where it ends, and attention."""

    def __init__(self, vocab_size: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.encoder = nn.LSTM(dim, hidden, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(dim, hidden, batch_first=True)
        self.bridges = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(2))
        self.score = nn.Linear(hidden, 2 * hidden, bias=False)
        self.combine = nn.Linear(3 * hidden, dim, bias=False)

    def forward(self, batch: Batch) -> Tensor:
        states, ends = self.encoder(self.embedding(batch["source_ids"]))
        first = [
            torch.tanh(bridge(torch.cat((end[0], end[1]), -1)))[None]
            for bridge, end in zip(self.bridges, ends, strict=True)
        ]
        x, _ = self.decoder(self.embedding(batch["input_ids"]), (first[0], first[1]))
        mask = None if "source_segments" not in batch else (batch["source_segments"] > 0)[:, None]
        context = F.scaled_dot_product_attention(self.score(x), states, states, attn_mask=mask, scale=1.0)
        x = torch.tanh(self.combine(torch.cat((context, x), -1)))
        return cross_entropy(F.linear(x, self.embedding.weight), batch["labels"])


class Theirs(nn.Module):
    """A network of transformers from a config, and which of its arguments come from which entries of a batch."""

    def __init__(self, config: str, model: str, settings: dict[str, Any], reads: dict[str, str]) -> None:
        super().__init__()
        transformers = peer("transformers")
        self.model = getattr(transformers, model)(getattr(transformers, config)(**settings))
        self.reads = reads

    def forward(self, batch: Batch) -> Tensor:
        given = {name: batch[entry] for name, entry in self.reads.items() if entry in batch}  # type: ignore[literal-required]
        return self.model(**given, use_cache=False).loss if "decoder_input_ids" in given else self.model(**given).loss
