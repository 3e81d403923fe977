"""A source whose train is a stream: which rows each split gets, and what is said about it."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from manyheads.data.files import files
from manyheads.data.hub import hub
from manyheads.data.source import Source
from manyheads.data.stream import StreamPlace
from manyheads.errors import UserError

TEXTS = [f"text number {i} {'x' * (i % 7)}" for i in range(200)]


def written(folder: Path, name: str = "a.jsonl", texts: list[str] = TEXTS) -> Path:
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content)
    return path


def trained(source: Source) -> list[str]:
    """The texts of one pass over the stream."""
    stream = source.stream()
    assert stream is not None
    return [text for block, _ in stream.blocks(StreamPlace()) for text in block.texts]


def texts(source: Source, split: str) -> list[str]:
    return [text for batch in source.texts(split) for text in batch]


def make(path: Path | dict[str, str], **settings: Any) -> Source:
    place = path if isinstance(path, dict) else str(path)
    return files(**{"format": "json", "path": place, "streaming": True, "validation_fraction": 0.1, **settings})


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_splits_are_disjoint_and_whole_and_those_of_the_same_data_unstreamed(tmp_path: Path, name: str):
    """Guards: a row in two splits or in none. With a head that holds everything, the rule is the one without streaming."""
    path = written(tmp_path, name)
    source, plain = make(path), make(path, streaming=False)
    assert plain.stream() is None
    for split in ("validation", "test"):
        assert texts(source, split) == texts(plain, split) != []
    assert trained(source) == texts(source, "train") == texts(plain, "train")


def test_a_small_head_gives_the_scored_splits_and_the_rest_is_train(tmp_path: Path):
    """Guards: a repeated row of a scored split that is trained on because it comes after the head."""
    doubled = [*TEXTS, *TEXTS[:50], "the last"]
    source = make(written(tmp_path, texts=doubled), head_mb=0.001)
    held = [*texts(source, "validation"), *texts(source, "test")]
    head = [*held, *texts(source, "train")]
    assert sorted(head) == sorted(TEXTS[: len(head)])
    assert 20 < len(head) < 80
    assert len(held) >= 2
    assert trained(source) == [text for text in doubled if text not in held]
    assert "of the stream's first 0.001 MB" in source.notes[-1]
    assert "trained on the first 0.001 MB" in source.notes[1]


def test_joined_rows_are_set_aside_by_place(tmp_path: Path):
    """Guards: a running text of which the scored part is trained on too. Equal lines elsewhere stay."""
    lines = [f"line {i % 5}\n" for i in range(100)]
    (tmp_path / "a.txt").write_text("".join(lines))
    source = files(
        format="text", path=str(tmp_path / "a.txt"), streaming=True, head_mb=0.00028, validation_fraction=0.1
    )
    parts = [texts(source, split) for split in ("train", "validation", "test")]
    assert [line for part in parts for line in part] == lines[:40]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert trained(source) == lines[:32] + lines[40:]


def test_given_splits_are_taken_and_nothing_is_set_aside(tmp_path: Path):
    paths = {
        split: str(written(tmp_path, f"{split}.jsonl", [split + t for t in TEXTS]))
        for split in ("train", "dev", "test")
    }
    source = make(paths)
    assert texts(source, "validation") == ["dev" + text for text in TEXTS]
    assert trained(source) == ["train" + text for text in TEXTS]
    assert not any("set aside" in note for note in source.notes)


@pytest.mark.parametrize(
    ("format", "content"),
    [("csv", "n;text\n1;one\n2;\n3;NA\n"), ("json", '[{"text": "one"}, {"text": null}, {"text": "NA"}]')],
)
def test_formats_read_as_they_do_unstreamed(tmp_path: Path, format: str, content: str):
    """Guards: a delimiter, a word for missing, or a null that a stream takes otherwise."""
    path = tmp_path / f"a.{format}"
    path.write_text(content)
    paths = {split: str(path) for split in ("train", "validation", "test")}
    settings = {"delimiter": ";"} if format == "csv" else {}
    source = make(paths, format=format, **settings)
    assert trained(source) == texts(source, "validation") == ["one", "", "NA"]


def test_an_encoding_is_kept_to(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes("text\nÜber\n".encode("latin-1"))
    source = make({s: str(path) for s in ("train", "validation", "test")}, format="csv", encoding="latin-1")
    assert trained(source) == ["Über"]


def test_parquet_and_a_copy_of_a_hub_repository(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"body": TEXTS}), tmp_path / "train.parquet", row_group_size=30)
    source = make(tmp_path, format="parquet", text_column="body", head_mb=0.001)
    held = {*texts(source, "validation"), *texts(source, "test")}
    assert trained(source) == [text for text in TEXTS if text not in held]
    copied = hub(name=str(tmp_path), text_column="body", streaming=True, head_mb=0.001, validation_fraction=0.1)
    assert trained(copied) == trained(source)


def test_cleaning_goes_with_the_stream(tmp_path: Path):
    source = make(written(tmp_path, texts=[text.upper() for text in TEXTS]), lower_case=True)
    found = [trained(source), texts(source, "validation"), texts(source, "test")]
    assert sorted(text for part in found for text in part) == sorted(TEXTS)


def test_scoring_other_data_scores_all_of_it(tmp_path: Path):
    """Guards: the head taken for the whole."""
    source = make(written(tmp_path), head_mb=0.001).uncut()
    assert (source.given, texts(source, "test")) == (("test",), TEXTS)


def test_the_fingerprint_stands_for_rows_and_splits(tmp_path: Path):
    path = written(tmp_path)
    found = [make(path, **settings).fingerprint for settings in ({}, {"head_mb": 1}, {"validation_fraction": 0.2})]
    assert len({*found, make(path, streaming=False).fingerprint}) == 4
    assert make(path, shuffle_mb=1).fingerprint == found[0]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"head_mb": 0}, "data.head_mb=0: set a number of megabytes above 0"),
        ({"shuffle_mb": -1}, "data.shuffle_mb=-1: set a number of megabytes above 0"),
        (
            {"near_duplicates": 0.8},
            "data.near_duplicates=0.8 compares all rows, and those of a stream are seen one by one",
        ),
        ({"contamination": 13}, "data.contamination=13 compares all rows"),
    ],
)
def test_what_a_stream_cannot_do_is_told(tmp_path: Path, settings: dict[str, Any], text: str):
    with pytest.raises(UserError, match=text):
        make(written(tmp_path), **settings)


def test_no_train_split_is_told(tmp_path: Path):
    with pytest.raises(UserError, match=r"data.streaming=true: data \(test.jsonl\) has no train split"):
        make({"test": str(written(tmp_path, "test.jsonl"))})


def test_a_file_that_breaks_off_is_named(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(UserError, match=r"data.path=.*a.jsonl is not json: line "):
        trained(make({split: str(path) for split in ("train", "validation", "test")}))
