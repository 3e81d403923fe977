"""Guards losses of rows that are put down to another text, or to another source."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.data.mixture import Mixture
from manyheads.task.altered_texts import AlteredTexts
from manyheads.task.base import Scored
from manyheads.task.denoising import Denoising
from manyheads.task.masked import Masked
from manyheads.testing import Rows, byte_tokenizer

TEXTS = ["abcdef", "xyz" * 9, "", "hij", "no"]


def make(kind: Any, source: Any) -> AlteredTexts:
    more = {"kind": "causal"} if kind is Denoising else {"pack": False}
    return kind(source=source, tokenizer=byte_tokenizer(), seed=1, seq_len=16, **more)


@pytest.mark.parametrize("kind", [Masked, Denoising])
def test_predictions_are_of_texts_and_sources_have_losses_of_their_own(kind: Any) -> None:
    """The second text is cut into rows 1 and 2; the second source has row 5. By hand."""
    splits = ("train", "validation", "test")
    one, two = Rows(dict.fromkeys(splits, TEXTS)), Rows({split: ["mnop"] for split in splits})
    task = make(kind, Mixture({"one": one, "two": two}, None))
    scored = Scored({0: 1.0, 1: 2.0, 2: 4.0, 5: 9.0}, {0: 1, 1: 1, 2: 3, 5: 2}, {})
    assert [(row["id"], row["loss"], row["tokens"]) for row in task.predictions(scored)] == [
        (0, 1.0, 1), (1, 6.0, 4), (4, 9.0, 2),
    ]  # fmt: skip
    assert task.by_source("test", scored) == {"loss/one": 7 / 5, "loss/two": 9 / 2}
    assert math.isnan(task.by_source("test", Scored({0: 1.0}, {0: 1}, {}))["loss/two"])
    assert make(kind, one).by_source("test", scored) == {}


class Tokens(nn.Module):
    """What a network says that knows only how often each token is a label: logits [B, T, V] of any batch."""

    kind = "bidirectional"

    def __init__(self, counts: NDArray[np.int64]) -> None:
        super().__init__()
        self.logits = torch.from_numpy(np.log((counts + 1) / (counts.sum() + len(counts))))

    def forward(self, batch: Batch) -> Tensor:
        return self.logits.expand(*batch["input_ids"].shape, -1).float()


@pytest.mark.parametrize("kind", [Masked, Denoising])
def test_the_unigram_is_scored_over_the_labels_that_the_network_is_scored_over(kind: Any) -> None:
    """Guards labels of other draws, or ones that are not learned: as a network that says the same, batch by batch."""
    texts = [text * 20 for text in TEXTS]
    task = make(kind, Rows({"train": texts, "validation": texts, "test": [*texts, "abc" * 30]}))
    train = np.zeros(task.tokenizer.vocab_size, np.int64)
    rows: Any = task.training_loader().dataset
    for batch in (rows[number] for number in range(len(rows))):  # of the first epoch
        labels = batch["labels"].numpy()
        train += np.bincount(labels[labels != IGNORE], minlength=len(train))
    network, total, count, right = Tokens(train), 0.0, 0, 0
    for batch in task.test_dataloader():
        logits, labels = network(batch), batch["labels"]
        learned = labels != IGNORE
        total += float(nn.functional.cross_entropy(logits[learned], labels[learned], reduction="sum"))
        count, right = count + int(learned.sum()), right + int((labels[learned] == int(train.argmax())).sum())
    found = task.baselines("test")["unigram"]
    assert list(found) == [metric.name for metric in task.metrics]
    assert (found["loss"], found["accuracy"]) == (pytest.approx(total / count, rel=1e-5), right / count)
