"""Guards: a view for the wrong fields, a row without its module, modules in other splits in another view, senseless counts."""

import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from manyheads.data.docstrings import module_files, topic_texts
from manyheads.data.fields import Fields
from manyheads.data.pydocs import PyDocs
from manyheads.data.pydocs_definitions import Definition, definitions
from manyheads.data.pydocs_descriptions import description_rows
from manyheads.data.pydocs_groups import GROUPS
from manyheads.data.pydocs_labels import label_rows
from manyheads.data.pydocs_messages import message_rows
from manyheads.data.pydocs_questions import question_rows
from manyheads.data.pydocs_summaries import summary_rows
from manyheads.data.pydocs_views import VIEWS, Made, view_of
from manyheads.errors import UserError

SOURCE = '''"""Encode and decode texts as JSON."""
def dump(value, indent=2):
    """Write the value to a file.

    The file is opened before and closed after it. Returns the number of bytes."""
'''
LIBRARY = Path(sysconfig.get_path("stdlib"))
LABELLED = ("text", "label")
SQUAD = ("context", "question", "answers", "id")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "json.py").write_text(SOURCE)
    (tmp_path / "pydoc_data").mkdir()
    page = "The if statement tells which of some suites is executed."
    (tmp_path / "pydoc_data" / "topics.py").write_text(f"topics = {{'if': {page!r}}}\n")
    return tmp_path


@pytest.mark.parametrize("fields", list(VIEWS))
def test_each_view_has_its_fields_and_the_module(library: Path, fields: tuple[str, ...]) -> None:
    made: Made = VIEWS[fields].make(library, module_files(library))
    assert made.rows
    sized = {name for modules in made.sizes.values() for name in modules}
    for row in made.rows:
        assert set(row) == {*fields, "module"}
        assert row["module"] in sized


def test_sizes_are_those_of_the_documentation_whatever_the_view(library: Path) -> None:
    files = module_files(library)
    defined = [VIEWS[fields].make(library, files).sizes for fields in (LABELLED, ("document", "summary"), SQUAD)]
    assert defined == [{"web": {"json": 135}}] * 3
    assert VIEWS[("messages",)].make(library, files).sizes == {"web": {"json": 135}, "topics": {"topic:if": 56}}


def test_the_view_with_the_fewest_other_fields_is_taken_in_any_order() -> None:
    assert view_of(["text"]).fields == ("text",)
    assert view_of(["label", "text"]).fields == view_of(["label"]).fields == LABELLED
    assert view_of(["answers", "question", "context"]).fields == SQUAD


@pytest.mark.parametrize("fields", [["text", "summary"], ["pixels"]])
def test_fields_that_no_view_has(fields: list[str]) -> None:
    with pytest.raises(
        UserError, match=rf"no rows with \({', '.join(fields)}\).*\(text\) or \(text, label\) or .*data=json"
    ):
        view_of(fields)


@pytest.fixture(scope="module")
def found() -> list[Definition]:
    """What this Python's library defines."""
    return definitions(module_files(LIBRARY))


def test_of_this_python_the_counts_are_sane(found: list[Definition]) -> None:
    topics = {name.removeprefix("topic:"): page for name, ((_, page),) in topic_texts(LIBRARY).items()}
    assert 6_000 < len(found) < 9_000
    assert 5_000 < len(list(label_rows(found))) < 8_000
    assert 2_000 < len(list(summary_rows(found))) < 4_000
    assert 5_000 < len(list(description_rows(found))) < 8_000
    talks = list(message_rows(found, topics))
    assert 4_000 < len(talks) < 7_000
    assert sum(row["module"].startswith("topic:") for row in talks) > 50


def test_of_this_python_questions_are_answered_where_they_say(found: list[Definition]) -> None:
    rows = list(question_rows(found))
    assert 4_000 < len(rows) < 8_000
    assert len({row["id"] for row in rows}) == len(rows)
    assert 0.13 < sum(not row["answers"]["text"] for row in rows) / len(rows) < 0.17
    modules = {row["context"]: row["module"] for row in rows}
    for row in rows:
        assert modules[row["context"]] == row["module"]  # so it is in one split
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert text.strip() == text != ""
            assert row["context"][start:].startswith(text)


@pytest.mark.slow
def test_of_this_python_each_label_is_in_each_split() -> None:
    source = PyDocs(validation_fraction=0.05)
    source.ask(Fields(LABELLED))
    counts = {split: Counter(source.rows(split)["label"]) for split in ("train", "validation", "test")}
    for split, labels in counts.items():
        assert set(labels) == set(GROUPS)
        assert max(labels.values()) < 0.25 * labels.total(), split
    assert min(counts["train"].values()) > 200


def test_the_library_is_read_without_being_imported() -> None:
    code = (
        "import sys, sysconfig; from pathlib import Path; from manyheads.data.docstrings import module_files;"
        "from manyheads.data.pydocs_views import VIEWS; library = Path(sysconfig.get_path('stdlib'));"
        "files = dict(item for item in module_files(library).items() if item[0] in ('this', 'turtle', 'smtplib'));"
        "before = set(sys.modules); rows = [view.make(library, files).rows for view in VIEWS.values()];"
        "print(all(rows), sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"
