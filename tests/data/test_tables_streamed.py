"""Files as streams of rows: the lines are those that lie in the cache otherwise."""

from pathlib import Path

from manyheads.data.tables import read_shards, write_lines
from manyheads.data.tables_streamed import stream_lines, stream_table


def test_lines_are_cut_as_they_are_on_disk(tmp_path: Path):
    """Guards: line breaks, very long lines and a last line without a break that the two paths read differently."""
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    files[0].write_bytes(b"one\r\n\n two" + b" word" * 1000)
    files[1].write_bytes("ü\nlast".encode())
    (tmp_path / "rows").mkdir()
    write_lines("text", files, "utf-8", tmp_path / "rows")
    assert [row["text"] for row in stream_lines("text", files, "utf-8")] == list(read_shards(tmp_path / "rows")["text"])


def test_the_order_is_that_of_the_files(tmp_path: Path):
    files = [tmp_path / f"[{i}].jsonl" for i in (2, 1)]
    for file in files:
        file.write_text(f'{{"text": "{file.name}"}}\n')
    assert [row["text"] for row in stream_table("json", files, "utf-8")] == ["[2].jsonl", "[1].jsonl"]
