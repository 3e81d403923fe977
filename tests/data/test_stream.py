"""The rows of a stream in blocks, from any place on."""

import json
from collections.abc import Callable

import pytest
from datasets import IterableDataset

from manyheads.data.stream import RowStream, StreamedRows, StreamPlace
from manyheads.errors import UserError


def numbers(counts: list[int]):
    for count in counts:
        for i in range(count):
            yield {"text": f"{count}:{i}"}


def opened(counts: list[int]) -> Callable[[], IterableDataset]:
    return lambda: IterableDataset.from_generator(numbers, gen_kwargs={"counts": counts})


def rows(open: Callable[[], IterableDataset], column: str = "text") -> StreamedRows:
    return StreamedRows(open=open, text_column=column, where="FILE", diagnose=lambda error: None)


@pytest.mark.parametrize("block_bytes", [1, 3, 10, 100])
def test_blocks_hold_every_row_once_and_go_on_from_each_place(block_bytes: int):
    """Guards: a row lost or doubled between two blocks or two files, and a last block that does not know it is the last.

    Files of one row, of several, and of none; the place goes through JSON, as a checkpoint holds plain values alone."""
    expected = [f"{count}:{i}" for count in (3, 1, 7) for i in range(count)]
    stream = RowStream(rows(opened([3, 1, 0, 7])), block_bytes, lambda number, text: False)
    found = list(stream.blocks(StreamPlace()))
    assert [text for block, _ in found for text in block.texts] == expected
    assert [block.ended for block, _ in found] == [False] * (len(found) - 1) + [True]
    assert found[-1][1] == {}
    assert all(sum(map(len, block.texts)) >= block_bytes for block, _ in found[:-1])
    for i, (_, place) in enumerate(found[:-1]):
        assert list(stream.blocks(json.loads(json.dumps(place)))) == found[i + 1 :]


def test_rows_of_another_split_are_left_out_and_still_counted():
    """Guards: places that count from the rows that are kept, so that a resume leaves out other rows."""
    stream = RowStream(rows(opened([10])), 6, lambda number, text: number in range(2, 8))
    found = list(stream.blocks(StreamPlace()))
    assert [block.texts for block, _ in found] == [["10:0", "10:1"], ["10:8", "10:9"]]
    assert list(stream.blocks(found[0][1])) == found[1:]


def test_an_empty_stream_is_one_empty_block():
    (found,) = RowStream(rows(opened([0])), 6, lambda number, text: False).blocks(StreamPlace())
    assert found[0] == ([], True)


def test_changes_are_done_block_by_block():
    stream = RowStream(rows(opened([2])), 100, lambda number, text: False)
    changed = stream.changed(lambda texts: [text + "a" for text in texts]).changed(lambda texts: texts[::-1])
    assert [block.texts for block, _ in changed.blocks(StreamPlace())] == [["2:1a", "2:0a"]]
    assert [block.texts for block, _ in stream.blocks(StreamPlace())] == [["2:0", "2:1"]]


def test_a_wrong_column_is_named():
    with pytest.raises(
        UserError, match=r"data.text_column=txt is no column of FILE. Did you mean 'text'\? It has: text"
    ):
        list(rows(opened([1]), "txt").texts(StreamPlace()))
