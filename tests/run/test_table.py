from collections.abc import Callable
from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.run.find import find_runs
from manyheads.run.table import flat_config, lower_is_better, number_text, size_text, sort_runs


def test_which_way_is_better() -> None:
    assert lower_is_better("val/bits_per_byte", [])
    assert lower_is_better("test/perplexity", [])
    assert not lower_is_better("val/accuracy", [])
    # a score of one source of the data, or of one of several tasks
    assert lower_is_better("val/bits_per_byte/docs", [])
    assert not lower_is_better("val/accuracy/topics", [])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (3.0, "3"), (1.5, "1.5000"), (12345.678, "12,346"), (1e-5, "1e-05"), (0, "0"), (-0.25, "-0.2500")],
)
def test_numbers_as_text(value: float | None, text: str) -> None:
    assert number_text(value) == text


def test_sizes_in_words() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 2_500_000, 10**13, 10**16)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "2.5 MB",
        "10.0 TB",
        "10000.0 TB",
    ]


def test_no_runs_sort_to_nothing() -> None:
    assert sort_runs([], "val/loss") == []


def test_a_config_is_flat_and_empty_parts_show(make_run: Callable[..., Path]) -> None:
    folder = make_run("a")
    (folder / "config.yaml").write_text("manyheads: {}\nlogger: {}\nmodel:\n  stop: [a, 1]\n  x: null\n")
    (run,) = find_runs()
    assert flat_config(run) == {"manyheads": "{}", "logger": "{}", "model.stop": '["a", 1]', "model.x": "null"}


def test_a_damaged_config_is_named(make_run: Callable[..., Path]) -> None:
    folder = make_run("a")
    (folder / "config.yaml").write_text("manyheads: {\n")
    (run,) = find_runs()
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        flat_config(run)
