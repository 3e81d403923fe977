import json
from collections.abc import Callable
from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.run import runs
from manyheads.run.runs import main

Make = Callable[..., Path]
Out = pytest.CaptureFixture[str]


def test_the_table_sorts_by_the_metrics_own_direction(make_run: Make, capsys: Out) -> None:
    for name, bpb in (("a", 2.0), ("b", None), ("c", 1.0)):
        make_run(name, bpb=bpb)
    assert main(["--sort", "val/bits_per_byte"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["c", "a", "b"]  # without the number last
    folder = make_run("d", bpb=9.0)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "directions": {"bits_per_byte": "higher"}}))
    main(["--sort", "val/bits_per_byte", "--limit", "1", "--json"])
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["d"]


def test_a_number_that_no_run_has_is_refused(make_run: Make) -> None:
    make_run("a", bpb=2.0)
    with pytest.raises(UserError, match="Did you mean val/bits_per_byte"):
        main(["--sort", "bits_per_byte"])


def test_a_damaged_run_is_shown_and_explained(make_run: Make, capsys: Out) -> None:
    folder = make_run("a")
    (folder / "results.json").write_text("{")
    assert main([]) == 0
    said = capsys.readouterr()
    assert "damaged" in said.out
    assert str(folder / "results.json") in said.err


def test_names_are_text_not_markup(make_run: Make, capsys: Out) -> None:
    make_run("[bold]x[nothing]")
    main([])
    assert "[bold]x[nothing]" in capsys.readouterr().out


def test_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert "no runs under outputs" in capsys.readouterr().out
    main(["--json"])
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--sorrt", "x"], "Did you mean --sort"),
        (["--limit", "-1"], "not a whole number"),
        (["--limit"], "expected one argument"),
        (["--diff", "a"], "expected 2 arguments"),
        (["a", "b"], "b: runs does not know this"),
        (["nowhere"], "nowhere: there is no such folder"),
        (["--prune", "--json"], "--prune does not go with --json"),
        (["--prune", "--limit", "0"], "--prune does not go with --limit"),
        (["--diff", "a", "a", "--sort", "x"], "--diff does not go with --sort"),
    ],
)
def test_wrong_use(make_run: Make, argv: list[str], words: str) -> None:
    make_run("a")
    with pytest.raises(UserError, match=words):
        main(argv)


def test_diff_shows_what_differs_only(make_run: Make, capsys: Out) -> None:
    make_run("one", bpb=2.0, dim=4)
    make_run("two", bpb=1.5, dim=8)
    main(["--diff", "one", "two", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["config"] == [["model.dim", "4", "8"]]
    assert found["numbers"] == [["val/bits_per_byte", "2", "1.5000"]]
    main(["--diff", "one", "two"])
    assert "-0.5" in capsys.readouterr().out


def test_prune_asks_first(make_run: Make, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    make_run("a")
    options = ["--prune", "--keep-best", "0", "--keep-newest", "0"]
    with pytest.raises(UserError, match="add --yes"):  # pytest's stdin is no terminal
        main(options)
    monkeypatch.setattr(runs.sys.stdin, "isatty", lambda: True, raising=False)
    for reply in ("", "n", "nonsense"):
        monkeypatch.setattr("builtins.input", lambda _, reply=reply: reply)
        main(options)
        assert Path("outputs/runs/a").is_dir()
    monkeypatch.setattr("builtins.input", lambda _: "y")
    main(options)
    assert not Path("outputs/runs/a").exists()


def test_a_narrow_terminal_leaves_texts_out_before_it_breaks_a_name(
    make_run: Make, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    """A name that is broken cannot be copied."""
    name = "2026-01-31_12-00-00-generation-transformer_512"
    make_run(name)
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    found = {}
    for width in ("110", "64"):
        monkeypatch.setenv("COLUMNS", width)
        main([])
        found[width] = capsys.readouterr().out
    assert all(name in out for out in found.values())
    assert ("model" in found["110"], "model" in found["64"]) == (True, False)
