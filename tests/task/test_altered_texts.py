"""Guards losses of rows that are put down to another text, or to another source."""

import math
from typing import Any

import pytest

from manyheads.data.mixture import Mixture
from manyheads.task.altered_texts import AlteredTexts
from manyheads.task.base import Scored
from manyheads.task.denoising import Denoising
from manyheads.task.masked import Masked
from manyheads.testing import Rows, byte_tokenizer

TEXTS = ["abcdef", "xyz" * 9, "", "hij", "no"]


def make(kind: Any, source: Any) -> AlteredTexts:
    more = {"kind": "causal"} if kind is Denoising else {}
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
