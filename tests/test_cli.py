import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from manyheads import __version__, cli
from manyheads.errors import Interrupted, UserError

ROOT = Path(__file__).parents[1]
Out = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "name a verb: train, eval, predict, generate, chat, families, model, runs"),
        (["trian"], "Did you mean 'train'"),
        (["--verbose"], "there is no such verb"),
        (["train", "--lr", "3"], "has no flag --lr"),
        (["eval"], "run is not set: add run=FOLDER"),
        (["eval", "run=nowhere"], "run=nowhere: there is no such folder"),
        (["predict"], "run is not set: add run=FOLDER"),
        (["predict", "run=nowhere", "input=rows.jsonl"], "run=nowhere: there is no such folder"),
        (["families", "--jsno"], "Did you mean '--json'"),
        (["train", "resume=nowhere"], "resume=nowhere: there is no such folder"),
        (["runs", "--what"], "runs does not know this"),
        (["help", "trian"], "Did you mean 'train'"),
        (["-sc", "install=csh"], "bash, zsh, fish"),
    ],
)
def test_wrong_use_exits_1_in_our_words(
    argv: list[str], words: str, capsys: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert words in said.err
    assert len(said.err.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"], ["train", "--help"], ["eval", "-h"], ["help", "train"]])
def test_help(argv: list[str], capsys: Out) -> None:
    assert cli.main(argv) == 0
    said = capsys.readouterr()
    assert "Usage: " in said.out
    assert said.err == ""


def test_help_of_runs(capsys: Out) -> None:
    assert cli.main(["runs", "--help"]) == 0
    assert "--keep-best" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--version"], ["train", "--version"]])
def test_version(argv: list[str], capsys: Out) -> None:
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == f"manyheads {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("k=v: set w"), 1, "error: k=v: set w\n"),
        (Interrupted(15, "resume with x"), 143, "error: resume with x\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (SystemExit(7), 7, ""),
        (SystemExit("words"), 1, "words\n"),
        (SystemExit(None), 0, ""),
    ],
)
def test_how_it_ends(monkeypatch: pytest.MonkeyPatch, capsys: Out, error: BaseException, code: int, said: str) -> None:
    def verb(argv: list[str]) -> int:
        raise error

    monkeypatch.setitem(cli.VERBS, "train", verb)
    assert cli.main(["train"]) == code
    assert capsys.readouterr().err == said


def test_our_own_fault_shows_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    def verb(argv: list[str]) -> int:
        raise ZeroDivisionError("ours")

    monkeypatch.setitem(cli.VERBS, "train", verb)
    assert cli.main(["train"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_user_can_ask_for_the_traceback_of_a_mistake(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert cli.main(["trian"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("The verbs are train, eval, predict, generate, chat, families, model, runs.\n")


def test_a_run_named_on_the_command_line_is_what_eval_composes_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(
        "manyheads:\n  schema: 1\n  choices:\n    model: tiny\nmodel:\n  dim: 3\n"
    )
    got: list[Any] = []
    monkeypatch.setattr(cli, "_load", lambda place: lambda cfg: got.append((place, cfg)))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["eval", "run=run", "stride=5", "model.dim=4"]) == 0
    ((place, cfg),) = got
    assert place == "manyheads.eval:evaluate"
    assert (cfg.model.dim, cfg.stride, cfg.run) == (4, 5, "run")


LIGHT = """
import sys
from manyheads.cli import main
code = main({argv})
heavy = [name for name in ("torch", "pytorch_lightning", "datasets", "wandb", {more}) if name in sys.modules]
sys.exit(f"imported {{heavy}}" if heavy or code else 0)
"""


@pytest.mark.parametrize(
    ("argv", "more"),
    [
        (["train", "--help"], '"hydra"'),
        (["eval", "--help"], '"hydra"'),
        (["runs", "."], '"hydra"'),
        (["train", "--cfg", "job"], '"rich"'),
    ],
)
def test_answers_that_need_no_torch_do_not_import_it(argv: list[str], more: str, tmp_path: Path) -> None:
    code = LIGHT.format(argv=argv, more=more)
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_m_is_the_console_script(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "manyheads", "trian"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: trian")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m manyheads train --help | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == ""


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_a_training_without_a_folder_that_looks_alive(
    tiny: list[str], tmp_path: Path
) -> None:
    words = " ".join(f"'{word}'" for word in tiny)
    command = f"{sys.executable} -m manyheads train {words} trainer.max_steps=3000 | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=100
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.startswith("task ")
    left = [json.loads(file.read_text())["run"]["status"] for file in tmp_path.glob("outputs/runs/*/results.json")]
    assert left in ([], ["failed"])
    assert len(list(tmp_path.glob("outputs/runs/*"))) == len(left)
