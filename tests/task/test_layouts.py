"""Guards: a row without a target that teaches something, or that is asked with another row's prompt."""

import numpy as np

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
