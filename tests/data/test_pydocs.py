"""Guards: a paragraph in two splits, a split of the wrong size, modules imported, a slow second start."""

import itertools
import subprocess
import sys
import time

import pytest

from manyheads.data.fields import Fields
from manyheads.data.pydocs import PyDocs, pydocs

SPLITS = ("train", "validation", "test")


@pytest.fixture
def source() -> PyDocs:
    return pydocs()


@pytest.fixture
def rows(source: PyDocs) -> dict[str, list[dict[str, str]]]:
    return {split: source.rows(split).to_list() for split in SPLITS}


def test_sizes(rows: dict[str, list[dict[str, str]]]) -> None:
    sizes = {split: sum(len(row["text"].encode()) for row in found) for split, found in rows.items()}
    total = sum(sizes.values())
    assert 1_500_000 < total < 4_000_000
    for split in ("validation", "test"):
        assert 0.045 < sizes[split] / total <= 0.05


def test_no_paragraph_is_there_twice(rows: dict[str, list[dict[str, str]]]) -> None:
    """Headings are names with arguments, so two modules may share one; paragraphs of two lines and more never."""
    seen: dict[str, str] = {}
    for row in itertools.chain(*rows.values()):
        for paragraph in row["text"].split("\n\n"):
            key = " ".join(paragraph.split())
            if "\n" in paragraph.strip():
                assert seen.setdefault(key, row["module"]) == row["module"], paragraph


def test_modules_are_in_one_split_each(rows: dict[str, list[dict[str, str]]]) -> None:
    modules = [row["module"] for split in SPLITS for row in rows[split]]
    assert len(set(modules)) == len(modules) > 300
    assert {"json.decoder", "argparse", "topic:for"} <= set(modules)
    assert not [name for name in modules if "test" in name.split(".") or name.startswith(("idlelib", "lib2to3"))]


def test_it_is_the_same_each_time_and_quick_from_the_cache(source: PyDocs) -> None:
    first = source.fingerprint
    start = time.perf_counter()
    assert pydocs().fingerprint == first
    assert time.perf_counter() - start < 1
    assert pydocs(validation_fraction=0.1).fingerprint != first


def test_the_fingerprint_imports_neither_datasets_nor_the_documented_modules() -> None:
    code = (
        "import sys; from manyheads.data.pydocs import pydocs; pydocs().fingerprint;"
        "print([m for m in ('datasets', 'pyarrow', 'torch', 'turtle', 'smtplib', 'antigravity') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def asked(fields: Fields) -> PyDocs:
    source = pydocs()
    source.ask(fields)
    return source


@pytest.mark.slow
def test_optional_fields_are_taken_along_where_the_view_has_them() -> None:
    rows = asked(Fields(("context", "question"), ("answers",), ("id", "title"))).rows("test")
    assert rows.column_names == ["context", "question", "answers", "id"]


@pytest.mark.slow
def test_rows_have_the_fields_asked_for_in_their_order() -> None:
    label_first, label_alone = asked(Fields((), ("label", "text"))), asked(Fields((), ("label",)))
    for split in SPLITS:
        assert label_first.rows(split).column_names == ["label", "text"]
        assert label_alone.rows(split).to_list() == [{"label": label} for label in label_first.rows(split)["label"]]
    sources = [pydocs(), label_first, label_alone, asked(Fields(("text",), ("label",)))]
    assert len({source.fingerprint for source in sources}) == 4


@pytest.mark.slow
def test_texts_are_those_of_the_text_fields_row_by_row() -> None:
    talks = asked(Fields(("messages.content",)))
    said = [message["content"] for row in talks.rows("test").to_list() for message in row["messages"]]
    assert list(itertools.chain(*talks.texts("test"))) == said
    labelled = asked(Fields(("text",), ("label",)))
    assert list(itertools.chain(*labelled.texts("test"))) == labelled.rows("test")["text"][:]


def test_the_screen_is_told_what_a_row_is() -> None:
    assert len(pydocs().notes) == 1
    assert asked(Fields(("text",), ("label",))).notes[1] == (
        "each row: a docstring and which of 10 parts of the library it is from"
    )
