"""Guards: a mean of means in a printed number, outputs of another example, outputs that are read when nobody asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from manyheads.batch import IGNORE, NO_EXAMPLE, Batch
from manyheads.head.next_token import NextToken
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.metric.perplexity import Perplexity
from manyheads.scored_lm import ScoredLM
from manyheads.testing import tiny_network


def test_hand_counted_sums_through_head_and_metrics() -> None:
    """Two batches of unequal size with known probabilities; a mean of batch means would give another number.

    A network that returns logits directly: position by position the right token has probability 1/2, 1/4 and 1/8.
    """

    class Known(torch.nn.Module):
        def forward(self, batch: Batch) -> Tensor:
            return batch["logits"]  # type: ignore[typeddict-item]

    head = NextToken(dim=2, vocab_size=2, weight=torch.nn.Parameter(torch.eye(2)))
    lm = ScoredLM(network=Known(), head=head, metrics=(Loss, Perplexity, BitsPerByte))

    def batch(probabilities: list[float], num_bytes: int) -> Any:
        logits = torch.tensor([[math.log(p), math.log(1 - p)] for p in probabilities])[None]
        labels = torch.zeros(1, len(probabilities), dtype=torch.int64)
        return {"logits": logits, "labels": labels, "num_bytes": torch.tensor([num_bytes])}

    for item in (batch([0.5, 0.25], 1), batch([0.125], 5)):
        lm.validation_step(item, 0)
    bits = 1 + 2 + 3
    values = {name: metric.compute().item() for name, metric in lm.val_metrics.items()}
    assert values["loss"] == pytest.approx(bits * math.log(2) / 3, rel=1e-6)
    assert values["perplexity"] == pytest.approx(2 ** (bits / 3), rel=1e-6)
    assert values["bits_per_byte"] == pytest.approx(bits / 6, rel=1e-6)


class Firsts:
    """Reads the first token of each row."""

    while_training = False

    def read(self, network: Any, head: Any, batch: Batch, hidden: Tensor) -> Sequence[int]:
        assert hidden.shape[:2] == batch["input_ids"].shape
        return batch["input_ids"][:, 0].tolist()

    def scores(self, split: str, outputs: Mapping[int, Any]) -> dict[str, float]:
        return {"sum": float(sum(outputs.values()))}


def test_outputs_are_kept_by_their_examples_and_scored_once() -> None:
    network, head = tiny_network(20)
    lm = ScoredLM(network=network, head=head, metrics=(Loss,), outputs=Firsts())
    lm.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    lm.on_test_epoch_start()
    for ids, examples in (([[3, 1], [4, 1]], [1, 0]), ([[5, 1], [9, 9]], [2, NO_EXAMPLE])):
        labels = torch.tensor([[1, IGNORE], [1, 2]])
        lm.test_step(Batch(input_ids=torch.tensor(ids), labels=labels, examples=torch.tensor(examples)), 0)
    lm.on_test_epoch_end()
    assert lm.outputs == {1: 3, 0: 4, 2: 5}
    assert lm.scores["test/sum"] == 12.0
    assert lm.examples.count == {1: 1, 0: 2, 2: 1, NO_EXAMPLE: 2}
