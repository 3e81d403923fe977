"""Guards suggested commands that a shell or Hydra's grammar reads as something else."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from manyheads.run.typed import assignment


@pytest.mark.parametrize(
    "name",
    [
        "plain-1.0_x",
        "two words",
        "a,b",
        "it's",
        "naïve",
        "{x}",
        "back\\slash",
        "end\\",
        "\\'",
        "a=b",
        "$HOME",
        "~x",
        "[1]",
        "'q'",
    ],
)
def test_what_is_typed_comes_back_through_the_shell_and_the_grammar(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path, wanted in ((tmp_path / name, name), (Path("/elsewhere") / name, f"/elsewhere/{name}")):
        (word,) = shlex.split(assignment("run", path))
        (override,) = OverridesParser.create().parse_overrides([word])
        assert (override.key_or_group, override.value()) == ("run", wanted)


def test_a_plain_path_is_typed_without_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert assignment("run", tmp_path / "outputs/runs/x-1") == "run=outputs/runs/x-1"
