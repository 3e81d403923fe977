"""docs/reference.md, which docs/reference.py writes from the yamls and signatures."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from manyheads.build import CONF_DIR

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_script", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_signatures_say(script: ModuleType) -> None:
    """A setting that was added, renamed or given another default without `python docs/reference.py`."""
    assert (DOCS / "reference.md").read_text(encoding="utf-8") == script.page()


def test_every_setting_and_every_choice_is_explained(script: ModuleType) -> None:
    """An argument without a line in its docstring, and a yaml without a comment at its top."""
    lines = script.page().splitlines()
    rows = [line for line in lines if re.match(r"\| `", line)]
    assert len(rows) > 180
    assert [row for row in rows if re.search(r"\| *\|$", row)] == []
    assert len([row for row in rows if row.startswith("| `")]) > len(list(CONF_DIR.glob("*/*.yaml")))


def test_settings_in_common_stand_once(script: ModuleType) -> None:
    found = script.by_choices("optim", ["adam", "sgd"])
    assert list(found) == [("adam",), ("sgd",), ("adam", "sgd")]
    assert [row.key for row in found["adam", "sgd"]] == [
        "schedule", "warmup_steps", "warmup_fraction", "decay_fraction", "decay_shape",
    ]  # fmt: skip
    (decay,) = [row for row in found["sgd",] if row.key == "weight_decay"]
    assert decay == ("weight_decay", "0.0", "a number", "how much of a weight is added to its gradient")


def test_a_description_may_take_several_lines(script: ModuleType) -> None:
    def function() -> None:
        """Does nothing.

        Args:
            one: a line
                that goes on; None: off.
            two: another.

        Raises:
            three: never.
        """

    assert script.described(function) == {"one": "a line that goes on; null: off", "two": "another"}
