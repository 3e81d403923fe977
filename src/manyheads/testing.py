"""Tools for tests, also for those of your own task, network or data: small, exact and instant.

tokenizer = byte_tokenizer()
source = Rows({"train": ["a text", "another"], "validation": ["one"], "test": ["more"]})
network, head = tiny_network(tokenizer.vocab_size)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.data.columns import Columns, with_fields
from manyheads.data.fields import Fields
from manyheads.data.source import SPLITS, Source
from manyheads.head.base import Head, HeadOutput, Scores
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.byte import byte

if TYPE_CHECKING:
    from datasets import Dataset

Rule = Callable[[list[int]], int | Sequence[float]]
"""From all tokens of a segment so far to the token that comes next, or to its V logits."""


@final
class Rows(Source):
    """Rows held in memory: texts, or mappings from columns to values, by split. A split that is not there is cut from
    train, as for any data."""

    def __init__(
        self,
        texts: Mapping[str, Sequence[str] | Sequence[Mapping[str, Any]]],
        *,
        join_rows: bool = False,
        validation_fraction: float = 0.05,
    ) -> None:
        super().__init__(name="rows", join_rows=join_rows, validation_fraction=validation_fraction)
        assert set(texts) <= set(SPLITS)
        self._texts = {split: list(rows) for split, rows in texts.items()}
        self._loaded: dict[tuple[str, Fields], Dataset] = {}  # to make one takes some ten milliseconds

    @property
    def fingerprint(self) -> str:
        """Hex digits of all texts and of how they are split."""
        content = json.dumps([self._texts, self.join_rows, self.validation_fraction], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def given(self) -> tuple[str, ...]:
        """The splits that were handed over."""
        return tuple(split for split in SPLITS if split in self._texts)

    def load(self, split: str) -> Dataset:
        """The rows of a given split."""
        key = (split, self.fields)
        if key not in self._loaded:
            self._loaded[key] = self._made(self._texts[split])
        return self._loaded[key]

    def _made(self, rows: Sequence[Any]) -> Dataset:
        from datasets import Dataset, Features, Value

        if rows and isinstance(rows[0], Mapping):
            return with_fields(
                Dataset.from_list([dict(row) for row in rows if not isinstance(row, str)]),
                self.fields,
                Columns(),
                self.name,
            )
        return Dataset.from_dict({"text": rows}, features=Features({"text": Value("string")}))


def byte_tokenizer() -> Tokenizer:
    """256 ids equal to the bytes' values and 256 for the end of a text: what a test expects can be read off."""
    return byte(source=Rows({}))


def tiny_network(vocab_size: int, *, seed: int = 0, dim: int = 16, num_layers: int = 2) -> tuple[Decoder, NextToken]:
    """A decoder and its head, untied, with weights from `seed`; the global random state stays as it was.

    The weights are larger than a real start's, so that what comes next depends on everything before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Decoder(
            vocab_size=vocab_size, dim=dim, num_layers=num_layers, num_heads=2, tie_embeddings=False, init_std=0.5
        )
        head = NextToken(dim=network.dim, vocab_size=vocab_size, init_std=0.5)
    return network, head


TINY_CONFIG = """\
manyheads: {schema: 1, version: 0.1.0}
task: {_target_: manyheads.task.generation.Generation, seq_len: 16}
model: {_target_: manyheads.model.decoder.Decoder, dim: 16, num_layers: 2, num_heads: 2, tie_embeddings: false}
head: {_target_: manyheads.head.next_token.NextToken}
"""
"""The config.yaml of `tiny_run`."""


def tiny_checkpoint(seed: int = 0, config: str = TINY_CONFIG, tokenizer: Tokenizer | None = None) -> dict[str, Any]:
    """A checkpoint as training leaves it: the weights of `tiny_network` over a tokenizer, by default that of bytes, and what
    rebuilds it."""
    tokenizer = tokenizer or byte_tokenizer()
    network, head = tiny_network(tokenizer.vocab_size, seed=seed)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    state |= {f"head.{name}": value for name, value in head.state_dict().items()}
    record = {"schema": 1, "version": "0.1.0", "config": config, "tokenizer": tokenizer.to_json(), "step": 7}
    return {"state_dict": state, "manyheads": record, "epoch": 0, "optimizer_states": [{"state": {}}]}


def tiny_run(
    folder: Path,
    config: str = TINY_CONFIG,
    checkpoints: Mapping[str, int] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Path:
    """A run folder with a config.yaml and checkpoints; `checkpoints` names the seed of each (by default best and last)."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    for name, seed in ({"best": 0, "last": 1} if checkpoints is None else checkpoints).items():
        torch.save(tiny_checkpoint(seed, config, tokenizer), folder / "checkpoints" / f"{name}.ckpt")
    return folder


@final
class ScriptedNetwork(nn.Module):
    """A causal network that says what a rule says. Its hidden states are the logits [B, T, V]; use `ScriptedHead`.

    It holds whoever calls it to the contract: positions count a segment's tokens from 0, a cache is told each token
    once and never overflows. `shapes` records the (B, T) of each call.
    """

    kind: ClassVar[str] = "causal"
    output_weight: ClassVar[None] = None

    def __init__(self, rule: Rule, vocab_size: int, *, max_positions: int | None = None) -> None:
        super().__init__()
        self.rule = rule
        self.vocab_size = self.dim = vocab_size
        self.max_positions = max_positions
        self.shapes: list[tuple[int, int]] = []

    def new_cache(self, batch_size: int, max_len: int) -> ScriptedCache:
        """An empty cache."""
        return ScriptedCache(batch_size, max_len)

    def forward(self, batch: Batch, cache: ScriptedCache | None = None) -> Tensor:
        """The rule's logits [B, T, V]; a token gets logit 0 and all others -inf where the rule names a token alone."""
        ids = batch["input_ids"]
        self.shapes.append((ids.shape[0], ids.shape[1]))
        segments = batch.get("segments", torch.ones_like(ids))
        positions = batch.get("positions")
        cache = cache or ScriptedCache(*ids.shape)
        cache.take(ids.shape[1])
        logits = torch.zeros(*ids.shape, self.vocab_size)
        for row, column in (segments != 0).nonzero().tolist():
            read = cache.texts[row].setdefault(int(segments[row, column]), [])
            assert positions is None or int(positions[row, column]) == len(read)
            assert self.max_positions is None or len(read) < self.max_positions
            read.append(int(ids[row, column]))
            logits[row, column] = self._logits(read)
        return logits

    def _logits(self, read: list[int]) -> Tensor:
        said = self.rule(read)
        if not isinstance(said, int):
            return torch.tensor(said, dtype=torch.float32)
        return torch.full((self.vocab_size,), float("-inf")).index_fill_(0, torch.tensor(said), 0.0)


class ScriptedCache:
    """What a ScriptedNetwork has read: each row's tokens by segment."""

    def __init__(self, batch_size: int, max_len: int) -> None:
        self.texts: list[dict[int, list[int]]] = [{} for _ in range(batch_size)]
        self.room = max_len

    def take(self, count: int) -> None:
        """Uses room for `count` more positions of each row."""
        self.room -= count
        assert self.room >= 0, "more was read than the cache was made for"

    def keep(self, rows: Tensor) -> None:
        """The rows at these places, in their order; a place that comes twice becomes two rows."""
        self.texts = [{segment: [*read] for segment, read in self.texts[row].items()} for row in rows.tolist()]


@final
class ScriptedHead(Head):
    """Takes hidden states for logits."""

    kinds: ClassVar[frozenset[str]] = frozenset({"causal"})

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., V], unchanged."""
        return hidden

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        """The sum of the cross-entropies in nats, and the count of labels."""
        return HeadOutput(self.losses(hidden, batch).sum(), (batch["labels"] != IGNORE).sum())

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        """The cross-entropy of each label in nats, and whether it has the highest logit."""
        losses = F.cross_entropy(hidden.transpose(1, 2), batch["labels"], ignore_index=IGNORE, reduction="none")
        return Scores(losses, hidden.argmax(-1) == batch["labels"])


def scripted(rule: Rule, vocab_size: int, *, max_positions: int | None = None) -> tuple[ScriptedNetwork, ScriptedHead]:
    """A network that says what `rule` says, and its head."""
    return ScriptedNetwork(rule, vocab_size, max_positions=max_positions), ScriptedHead()


def uniform(vocab_size: int) -> tuple[ScriptedNetwork, ScriptedHead]:
    """A network that finds every token equally likely: each label costs ln(vocab_size) nats."""
    return scripted(lambda read: [0.0] * vocab_size, vocab_size)
