"""Guards: a paragraph in two splits, a split of the wrong size, modules imported, a slow second start."""

import itertools
import subprocess
import sys
import time

import pytest

from manyheads.data.pydocs import PyDocs, pydocs, split_by_name, without_repeats

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


def test_repeats_go_and_headings_without_text_with_them() -> None:
    texts = {
        "b": [("b", "One two.\n\nThree."), ("b.f()", "One\n  two."), ("b.g()", "New.")],
        "a": [("", "Three.\n\nFour.")],
        "c": [("c", "Four.")],
    }
    assert without_repeats(texts) == {"a": "Three.\n\nFour.\n", "b": "b\n\nOne two.\n\nb.g()\n\nNew.\n"}


def test_split_by_name_is_whole_and_keeps_to_the_goal() -> None:
    sizes = {f"m{i}": i for i in range(1, 101)}
    found = split_by_name(sizes, 0.1)
    assert sorted(itertools.chain(*found.values())) == sorted(sizes)
    for split in ("validation", "test"):
        assert 0.09 * 5050 < sum(sizes[name] for name in found[split]) <= 505
    assert split_by_name(dict(reversed(sizes.items())), 0.1) == found
