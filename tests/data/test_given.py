"""Guards: a new row that is read otherwise than those of training, lost or put elsewhere, and a mistake told in other words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from manyheads.data.columns import Columns
from manyheads.data.fields import TEXT, Fields
from manyheads.data.given import SPLIT, Given, columns_of, given_file, given_rows, json_rows
from manyheads.errors import UserError

ASKED = Fields(("source",), optional=("target",))
PLAIN = Columns()


def rows_of(source: Given, fields: Fields = ASKED) -> dict[str, list[Any]]:
    source.ask(fields)
    return source.rows(SPLIT)[:]


def read(path: Path, folder: Path, columns: Columns = PLAIN, fields: Fields = ASKED, **settings: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return rows_of(given_file(path, columns, folder, text_field="source", **settings), fields)


def test_columns_that_only_training_had_are_passed_over() -> None:
    """A run trained with data.columns={source: de, target: en} is asked of rows without en."""
    columns = columns_of({"columns": {"source": "de", "target": "en"}, "text_column": None})
    assert rows_of(given_rows([{"de": "ja", "note": 1}], columns)) == {"source": ["ja"]}
    assert rows_of(given_rows([{"de": "ja", "en": "yes"}], columns)) == {"source": ["ja"], "target": ["yes"]}
    nested = Columns(named={"source": "pair.de", "target": "pair.en"})
    assert rows_of(given_rows([{"pair": {"de": "ja", "en": "yes"}}], nested)) == {"source": ["ja"], "target": ["yes"]}


def test_a_column_that_is_asked_for_is_named_with_those_there() -> None:
    with pytest.raises(UserError) as caught:
        rows_of(given_rows([{"txt": "a", "n": 1}], PLAIN))
    assert str(caught.value) == (
        "data.columns.source=source is no column of rows. It has: txt, n. Set data.columns.source to the one that holds "
        "the source."
    )


def test_rows_may_differ_in_their_columns() -> None:
    made = given_rows([{"source": "a"}, {"target": "c", "source": "b"}], PLAIN)
    assert rows_of(made) == {"source": ["a", "b"], "target": [None, "c"]}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "rows has no row. Give one at least."),
        (["text"], "rows: row 0 is no mapping from columns to values, such as {'text': '...'}."),
        ([{"source": 1}, {"source": "a"}], "rows: a column has values of several kinds"),
        (
            [{"source": "a \ud800"}],
            "rows: a text holds \\ud800, which is half a character. Mend the row, or leave it out.",
        ),
    ],
)
def test_what_is_no_row_is_told(rows: list[Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        given_rows(rows, PLAIN)
    assert str(caught.value).startswith(said)


def test_json_lines() -> None:
    assert list(json_rows(['{"a": 1}\n', "\n", '{"b": null}'], "input=-")) == [{"a": 1}, {"b": None}]
    with pytest.raises(UserError, match=r"input=-, line 2 is no JSON: .* at column 1\."):
        list(json_rows(["{}", "nonsense"], "input=-"))
    with pytest.raises(UserError, match="input=-, line 1 is no object"):
        list(json_rows(["[1]"], "input=-"))


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    from datasets import Dataset

    texts = ["one, two", 'a "quoted" é', "three"]
    rows = [{"source": text} for text in texts]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "r.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "r.csv").write_text('source\n"one, two"\n"a ""quoted"" é"\nthree\n', encoding="utf-8")
    (tmp_path / "r.txt").write_text("\n".join(texts), encoding="utf-8")
    (tmp_path / "r.txt.gz").write_bytes(gzip.compress("\r\n".join([*texts, ""]).encode()))
    Dataset.from_list(rows).to_parquet(tmp_path / "r.parquet")
    for number, name in enumerate(("r.jsonl", "r.json", "r.csv", "r.txt", "r.txt.gz", "r.parquet")):
        assert read(tmp_path / name, tmp_path / str(number)) == {"source": texts}, name


def test_lines_are_rows_whatever_their_length_and_blank_ones_count(tmp_path: Path) -> None:
    """Text that is trained on is read in pieces; here each line has to have its own answer."""
    (tmp_path / "r.txt").write_text("a\n\n" + "b" * 5000 + "\n", encoding="utf-8")
    assert read(tmp_path / "r.txt", tmp_path / "made") == {"source": ["a", "", "b" * 5000]}


def test_encoding_and_delimiter(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("source;n\nné;1\n", encoding="latin-1")
    assert read(tmp_path / "r.csv", tmp_path / "a", encoding="latin-1", delimiter=";") == {"source": ["né"]}


def test_a_text_column_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"body": "a"}\n')
    assert read(tmp_path / "r.jsonl", tmp_path / "a", Columns("body"), TEXT) == {"text": ["a"]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.jsonl", None, "there is no such file. Did you mean 'absent.csv'?"),
        ("r.xyz", b"a", "the ending says no format. Name the file with one of .txt"),
        ("r.jsonl", b"", "is empty. Set a file with rows."),
        ("r.csv", b"source\n", "has no row"),
        ("r.jsonl", b"{nonsense\n", "is not json: line 1, column 2"),
        ("r.parquet", b"nonsense", "is not parquet: it starts with"),
        ("r.txt", b"\xff\xfe\xff", "is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_as_the_input(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    (tmp_path / "absent.csv").write_text("a")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(tmp_path / name, tmp_path / "made")
    assert str(caught.value).startswith(f"input={tmp_path / name}")
    assert said in str(caught.value)
    assert "data.path" not in str(caught.value)
