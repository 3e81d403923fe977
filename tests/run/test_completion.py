import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.run.completion import answer, shell_completion


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ["train", "eval", "predict", "generate", "chat", "families", "model", "runs", "--help", "--version"]),
        ("tr", ["train"]),
        ("train data=", ["data=text", "data=tiny"]),
        ("train da", ["data."]),
        ("train optim.", ["optim._target_=", "optim.beta=", "optim.lr="]),
        ("train model.n", ["model.norm="]),  # the yaml leaves it out
        ("train --cf", ["--cfg"]),
        ("train optim=] opt", []),  # a line that does not compose
        ("runs --pr", ["--prune"]),
        ("model mo", ["model="]),
        ("ch", ["chat"]),
        ("model --j", ["--json"]),
        ("families --m", ["--markdown"]),
        ("nonsense x", []),
    ],
)
def test_answers(conf: Path, line: str, expected: list[str]) -> None:
    found = answer(line, conf)
    assert set(expected) <= set(found) if expected else found == []


def test_runs_are_offered_where_one_is_named(conf: Path, make_run: Callable[..., Path]) -> None:
    make_run("2026-a", bpb=1.0)
    make_run("2026-b")
    assert answer("eval run=", conf) == ["run=outputs/runs/2026-b", "run=outputs/runs/2026-a"]
    assert answer("train resume=outputs/runs/2026-a", conf) == ["resume=outputs/runs/2026-a"]
    assert answer("runs --diff 2026-a 20", conf) == ["2026-b", "2026-a"]
    assert answer("runs --sort ", conf) == ["val/bits_per_byte"]


@pytest.mark.parametrize("words", [[], ["install"], ["install=csh"], ["remove=bash"]])
def test_wrong_use(words: list[str]) -> None:
    with pytest.raises(UserError, match="bash"):
        shell_completion(words)


# bash asks as it does when a user presses Tab: with COMP_LINE, COMP_POINT and its word breaks
DRIVER = """
eval "$(manyheads -sc install=bash)"
ask() { COMP_LINE="$1"; COMP_POINT=${#1}; COMP_WORDBREAKS="$2"; _manyheads_complete; printf '[%s]' "${COMPREPLY[@]}"; echo; }
ask 'manyheads tr' $' \\t\\n"=:'
ask 'manyheads runs --pru' $' \\t\\n"=:'
ask 'manyheads eval run=out' $' \\t\\n"=:'
ask 'manyheads eval run=out' $' \\t\\n"'
complete -p manyheads
"""


def test_in_a_real_bash(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    make_run("r")
    program = tmp_path / "bin" / "manyheads"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m manyheads "$@"\n')
    program.chmod(0o755)
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(source)}
    done = subprocess.run(["bash", "-c", DRIVER], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "[train ]",
        "[--prune ]",
        "[outputs/runs/r ]",  # readline replaces only what stands after the =
        "[run=outputs/runs/r ]",
        "complete -o default -o nospace -F _manyheads_complete manyheads",
    ]
    assert done.stderr == ""
