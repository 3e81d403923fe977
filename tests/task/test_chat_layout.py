"""Guards: labels that are out of step with the inputs, replies that are not learned or learned twice, padding that counts."""

import numpy as np

from manyheads.batch import IGNORE
from manyheads.task.chat_layout import EachReply, WholeDialogue, runs
from manyheads.tokenizer.chat_template import Tokens

#                    end  user       assistant   user      assistant
FIRST = Tokens([9, 1, 10, 5, 2, 20, 21, 5, 1, 11, 5, 2, 22, 5], [False] * 5 + [True] * 3 + [False] * 4 + [True] * 2)
SECOND = Tokens([9, 1, 10, 5, 2, 20, 5], [False] * 5 + [True] * 2)


def columns(layout: WholeDialogue | EachReply, *dialogues: tuple[Tokens, list[int]]) -> dict[str, list[np.ndarray]]:
    found = [part for tokens, sizes in dialogues for part in layout.parts(tokens, sizes)]
    return {
        "tokens": [np.array(part.ids, np.int32) for part, _ in found],
        "learned": [np.array(part.learned, np.int32) for part, _ in found],
        "bytes": [np.array(sizes, np.int32) for _, sizes in found],
    }


def test_runs_are_the_replies() -> None:
    assert runs(FIRST.learned) == [(5, 8), (12, 14)]
    assert runs([False, False]) == []
    assert runs([True]) == [(0, 1)]


def test_all_replies_of_a_dialogue_are_learned_in_one_row() -> None:
    layout = WholeDialogue(9)
    batch = layout(columns(layout, (FIRST, [7, 3]), (SECOND, [4])))
    n = IGNORE
    assert batch["input_ids"].tolist() == [FIRST.ids[:-1], [*SECOND.ids[:-1], *[9] * 7]]
    assert batch["labels"].tolist() == [
        [n, n, n, n, 20, 21, 5, n, n, n, n, 22, 5],
        [n, n, n, n, 20, 5, n, n, n, n, n, n, n],
    ]
    assert batch["segments"].tolist() == [[1] * 13, [1] * 6 + [0] * 7]
    assert batch["num_bytes"].tolist() == [10, 4]
    assert batch["num_tokens"].item() == 14 + 7


def test_an_encoder_reads_what_stands_before_each_reply() -> None:
    layout = EachReply(9)
    batch = layout(columns(layout, (FIRST, [7, 3]), (SECOND, [4])))
    # of the second reply, the first stands in its history and is not learned once more
    assert batch["source_ids"].tolist() == [[*FIRST.ids[:5], *[9] * 7], FIRST.ids[:12], [*SECOND.ids[:5], *[9] * 7]]
    assert batch["source_segments"].sum(-1).tolist() == [5, 12, 5]
    assert batch["input_ids"].tolist() == [[9, 20, 21], [9, 22, 9], [9, 20, 9]]
    assert batch["labels"].tolist() == [[20, 21, 5], [22, 5, IGNORE], [20, 5, IGNORE]]
    assert batch["segments"].tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 0]]
    assert batch["num_bytes"].tolist() == [7, 3, 4]
