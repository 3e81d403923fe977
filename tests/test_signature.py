"""Guards: a value of the wrong type that reaches torch unchecked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from manyheads.signature import admits, in_words, plain_defaults


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -3], [1.5, "1", True, None]),
        (float, [1, 1.5, 1e-3], ["abc", None, True, float("nan")]),
        (bool, [True, False], [0, "yes", None]),
        (str, ["", "x"], [1, None]),
        (int | None, [3, None], ["3"]),
        (Path, ["a/b", Path("a")], [3]),
        (Literal["a", "b"], ["a"], ["c", None]),
        (list[str], [["a"], []], ["a", [1]]),
        (tuple[float, float], [[0.9, 0.95]], [0.9, ["a", "b"]]),
        (dict[str, str] | str, [{"a": "b"}, "x"], [3, ["x"]]),
        (Any, [1, "x", None], []),
    ],
)
def test_which_values_an_annotation_admits(hint: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not admits(hint, value)] == []
    assert [value for value in bad if admits(hint, value)] == []


def test_annotations_in_words() -> None:
    assert in_words(int | None) == "a whole number or null"
    assert in_words(Literal["pre", "post"]) == "one of pre, post"


def test_defaults_that_a_yaml_could_hold() -> None:
    """What is left out here a saved config does not hold, and a later version's default would change an old run."""

    def target(
        *,
        module: object,
        lr: float = 0.1,
        betas: Sequence[float] = (0.9, 0.95),
        sizes: tuple[int, ...] = (1,),
        devices: int | str | list[int] = "auto",
        kind: Literal["a", "b"] = "a",
        live: Sequence[object] = (),
        either: object | None = None,
        untold=3,  # type: ignore[no-untyped-def]
    ) -> None: ...

    assert plain_defaults(target) == {"lr": 0.1, "betas": (0.9, 0.95), "sizes": (1,), "devices": "auto", "kind": "a"}
