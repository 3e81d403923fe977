"""Guards: rows lost or changed by a reader, stale rows after an edit, a fault told late or without its place."""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

import manyheads.data.tables as tables
from manyheads.data.files import Files, files
from manyheads.errors import UserError

ROWS = Path(__file__).parents[1] / "rows"


def texts(source: Files, split: str) -> list[str]:
    return list(itertools.chain(*source.texts(split)))


def in_order(source: Files) -> list[str]:
    return [text for split in ("train", "validation", "test") for text in texts(source, split)]


def test_text_keeps_every_byte_of_the_file() -> None:
    source = files(format="text", path=str(ROWS / "lines.txt"))
    assert "".join(in_order(source)).encode() == (ROWS / "lines.txt").read_bytes()
    assert source.join_rows
    assert source.name == "lines.txt"
    assert all(text.endswith("\n") for text in in_order(source))


def test_text_over_several_shards_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "SHARD_BYTES", 1)
    parts = ["one\ntwo\n", "three\nfour", "five\n"]
    for i, part in enumerate(parts):
        (tmp_path / f"part{i}.txt").write_text(part)
    source = files(format="text", path=str(tmp_path / "part*.txt"))
    assert in_order(source) == ["one\n", "two\n", "three\n", "four", "five\n"]
    assert len(list((tmp_path / "cache").rglob("*.arrow"))) >= 3


def test_json_rows_null_and_empty_texts_included() -> None:
    source = files(format="json", path=str(ROWS / "rows.jsonl"), text_column="body", validation_fraction=0.1)
    written = [json.loads(line)["body"] or "" for line in (ROWS / "rows.jsonl").read_text().splitlines()]
    assert sorted(in_order(source)) == sorted(written)
    assert not source.join_rows
    where = {text: split for split in ("train", "validation", "test") for text in texts(source, split)}
    assert sum(text == "The ferry leaves at nine." for text in in_order(source)) == 2
    assert sum(text in texts(source, split) for text in where for split in ("train", "validation", "test")) == len(
        where
    )


def test_csv_cells_that_look_like_missing_values_are_words() -> None:
    source = files(format="csv", path=str(ROWS / "rows.csv"), text_column="body")
    assert sorted(in_order(source)) == sorted(
        ["The ferry, at nine.", "NA", 'She said "no" twice.', "", "null", "A lamp hums."]
    )


@pytest.mark.parametrize(("delimiter", "sign"), [(";", ";"), ("tab", "\t"), (r"\t", "\t"), ("|", "|"), (",", ",")])
def test_csv_cells_with_another_delimiter(delimiter: str, sign: str, tmp_path: Path) -> None:
    others = "".join(each for each in ",;|" if each != sign)
    rows = [f"text {i}{others}" for i in range(30)]
    (tmp_path / "f.csv").write_text(f"id{sign}text\n" + "".join(f"{i}{sign}{row}\n" for i, row in enumerate(rows)))
    source = files(format="csv", path=str(tmp_path / "f.csv"), delimiter=delimiter)
    assert sorted(in_order(source)) == sorted(rows)


def test_the_delimiter_is_part_of_what_the_cache_goes_by(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("text,a;b\n" + "one;two,three\n" * 30)
    one, other = (files(format="csv", path=str(tmp_path / "f.csv"), delimiter=sign) for sign in ",;")
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("shape", ["lines", "list", "gz", "latin-1"])
def test_json_in_other_shapes_gives_the_same_rows(shape: str, tmp_path: Path) -> None:
    import gzip

    rows = [{"text": f"Grüße {i}", "n": i} for i in range(30)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    content = {
        "lines": lines.encode(),
        "list": json.dumps(rows, indent=1).encode(),
        "gz": gzip.compress(lines.encode()),
        "latin-1": lines.encode("latin-1"),
    }[shape]
    (tmp_path / "f.json").write_bytes(content)
    encoding = shape if shape == "latin-1" else "utf-8"
    source = files(format="json", path=str(tmp_path / "f.json"), encoding=encoding)
    assert sorted(in_order(source)) == sorted(row["text"] for row in rows)


def test_parquet_keeps_the_splits_of_its_files(tmp_path: Path) -> None:
    import datasets

    for split in ("train", "validation", "test"):
        datasets.Dataset.from_dict({"text": [f"{split} 1", f"{split} 2"], "n": [1, 2]}).to_parquet(
            tmp_path / f"{split}-00000-of-00001.parquet"
        )
    source = files(format="parquet", path=str(tmp_path))
    assert [texts(source, split) for split in ("train", "validation", "test")] == [
        [f"{split} 1", f"{split} 2"] for split in ("train", "validation", "test")
    ]
    assert source.rows("train")["n"] == [1, 2]
    assert source.notes == []


def test_an_edited_file_is_read_again_even_with_its_old_size_and_time(tmp_path: Path) -> None:
    file = tmp_path / "f.txt"
    file.write_text("a\nb\nc\n")
    before = os.stat(file)
    first = files(format="text", path=str(file))
    assert in_order(first) == ["a\n", "b\n", "c\n"]
    file.write_text("a\nb\nd\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = files(format="text", path=str(file))
    assert second.fingerprint != first.fingerprint
    assert in_order(second) == ["a\n", "b\n", "d\n"]


def test_the_fingerprint_is_of_the_content_not_of_the_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.txt").write_text("a\nb\nc\n")
    first, moved = (files(format="text", path=str(tmp_path / name / "f.txt")) for name in ("a", "b"))
    assert first.fingerprint == moved.fingerprint
    others: list[dict[str, Any]] = [{"validation_fraction": 0.2}, {"encoding": "latin-1"}, {"join_rows": False}]
    changed = [files(format="text", path=str(tmp_path / "a" / "f.txt"), **other).fingerprint for other in others]
    assert len({first.fingerprint, *changed}) == 4


FAULTS: list[tuple[str, str, bytes, dict[str, Any], str]] = [
    ("broken line", "json", b'{"text": "a"}\n{"text": "b"}\n{"text": c}\n', {}, r"not json: line 3, column 10"),
    ("line cut off", "json", b'{"text": "a"}\n{"text": \n', {}, r"not json: line 2, column 10"),
    ("broken list", "json", b'[{"text": "a"},\n {"text": b}]\n', {}, r"not json: line 2, column 11"),
    ("latin json", "json", b'{"text": "a"}\n{"text": "\xe9"}\n', {}, r"not UTF-8: byte 24 \(0xe9\)"),
    ("latin csv", "csv", b"text\n\xe9\n", {}, r"not UTF-8: byte 5 \(0xe9\)"),
    ("latin text", "text", b"ok\n\xe9\n", {}, r"not UTF-8: byte 3 \(0xe9\)"),
    ("no column", "json", b'{"txt": "a", "n": 1}\n', {}, r"text_column=text is no column.*'txt'.*It has: txt, n"),
    ("no text", "json", b'{"text": 1, "b": "x"}\n', {}, r"holds no text but int64. Columns with text: b\."),
    ("ragged csv", "csv", b"id,text\n1,a\n2,b,c\n", {}, r"cannot be read as csv: .*line 3"),
    ("csv without rows", "csv", b"text\n", {}, r"has no row"),
    ("blank json", "json", b"  \n\n", {}, r"has no row"),
    ("no parquet", "parquet", b'{"text": "a"}\n', {}, r"not parquet"),
    ("one line", "text", b"alone\n", {}, r"too few to cut validation and test from"),
]


@pytest.mark.parametrize(
    ("format", "content", "settings", "message"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_faults_name_the_file_and_what_to_set(
    format: Any, content: bytes, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(content)
    source = files(format=format, path=str(tmp_path / "f"), **settings)
    with pytest.raises(UserError, match=message) as told:
        source.rows("train")
    assert len(str(told.value).splitlines()) <= 2
    assert "data" in str(told.value)


def test_validation_serves_as_test_where_asked(tmp_path: Path) -> None:
    """Guards rows of train that are set aside all the same, and a test split of the user's own that is passed over."""
    for split in ("train", "validation"):
        (tmp_path / f"{split}.txt").write_text(f"of {split}\n" * 40)
    cut = files(format="text", path=str(tmp_path))
    asked = files(format="text", path=str(tmp_path), test_on_validation=True)
    assert len(texts(cut, "train")) < 40
    assert [len(texts(asked, split)) for split in ("train", "validation", "test")] == [40, 40, 40]
    assert texts(asked, "test") == texts(asked, "validation")
    assert asked.notes == ["no test split in the data: test is validation once more, not data of its own"]
    assert asked.fingerprint != cut.fingerprint
    (tmp_path / "test.txt").write_text("of test\n")
    given = files(format="text", path=str(tmp_path), test_on_validation=True)
    assert texts(given, "test") == ["of test\n"]
    assert not given.notes


def test_no_validation_to_serve_as_test(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(
        UserError, match=r"data\.test_on_validation=true: the data has no validation split\. Give one, "
    ):
        files(format="text", path=str(tmp_path / "all.txt"), test_on_validation=True)
