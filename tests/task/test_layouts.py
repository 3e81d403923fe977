"""Guards: a row without a target that teaches something, or that is asked with another row's prompt."""

import numpy as np
import pytest

from manyheads.batch import IGNORE
from manyheads.task.layouts import LAYOUTS
from manyheads.testing import byte_tokenizer

END = byte_tokenizer().end_id


def test_a_row_without_a_target_asks_and_teaches_nothing() -> None:
    for kind, layout in LAYOUTS.items():
        batch = layout(byte_tokenizer(), "{source}=")(
            {"source": [np.array([END, 65, 61])], "target": [np.array([], np.int32)], "bytes": [np.array([0])]}
        )
        assert (batch["labels"] == IGNORE).all(), kind
        prompts, sources = layout(byte_tokenizer(), "{source}=").asked(batch)
        assert (sources or prompts)[0] == ([END, 65, 61] if sources else [65, 61])


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("length", [1, 4, 9])
def test_longest_is_the_width_of_the_longest_row(kind: str, length: int) -> None:
    layout = LAYOUTS[kind](byte_tokenizer(), "a {source} b")
    source, target = np.array(layout.wrapped([65] * 5), np.int32), np.full(length, 66, np.int32)
    batch = layout({"source": [source], "target": [target], "bytes": [np.zeros(1, np.int32)]})
    widths = [batch[name].shape[1] for name in ("input_ids", "source_ids") if name in batch]
    assert layout.longest(5, length) == max(widths)
