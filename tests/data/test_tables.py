"""Guards: working files left in the cache, and the settings of `datasets` left changed."""

from pathlib import Path

import datasets

from manyheads.data.tables import read_shards, write_lines, write_table


def test_only_shards_are_left(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("text\na\nb\n")
    (tmp_path / "made").mkdir()
    write_table("csv", [tmp_path / "f.csv"], "utf-8", tmp_path / "made")
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["00000.arrow"]
    assert read_shards(tmp_path / "made")["text"] == ["a", "b"]


def test_files_of_no_byte_give_no_rows_but_a_schema(tmp_path: Path) -> None:
    (tmp_path / "f.txt").touch()
    (tmp_path / "made").mkdir()
    write_lines("text", [tmp_path / "f.txt"], "utf-8", tmp_path / "made")
    assert read_shards(tmp_path / "made").column_names == ["text"]


def test_bars_and_messages_are_as_before(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("text\na\n")
    (tmp_path / "made").mkdir()
    datasets.enable_progress_bars()
    level = datasets.logging.get_verbosity()
    write_table("csv", [tmp_path / "f.csv"], "utf-8", tmp_path / "made")
    assert not datasets.are_progress_bars_disabled()
    assert datasets.logging.get_verbosity() == level
