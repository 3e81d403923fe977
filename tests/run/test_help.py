from pathlib import Path

import pytest

from manyheads.build import CONF_DIR
from manyheads.run.help import WIDTH, page, root_keys


def test_groups_come_from_the_tree_and_from_a_folder_of_ones_own(conf: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "own.yaml").touch()
    text = page("train", "python train.py", conf, [tmp_path / "mine"])
    assert "  data        tiny*  own  text\n" in text
    assert "  experiment  big\n" in text
    assert "hydra  " not in text
    assert "resume=null  a run folder: continue it in place" in text


def test_keys_and_their_comments(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("defaults:\n  - x\nseed: 1\nstop: []   # a list # of texts\n# remark\n")
    assert root_keys(tmp_path / "a.yaml") == [("seed=1", ""), ("stop=[]", "a list # of texts")]


@pytest.mark.parametrize("verb", ["train", "eval"])
def test_the_real_page_fits_a_screen_and_has_ten_examples(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = page(verb, f"python {verb}.py", CONF_DIR)
    assert max(map(len, text.splitlines())) <= WIDTH
    examples = text.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) == 10
    assert all(line.startswith(f"  python {verb}.py") for line in examples)


def test_columns_fit_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal would break the explanations in mid-word."""
    monkeypatch.setenv("COLUMNS", "80")
    text = page("train", "python train.py", CONF_DIR)
    part = text.partition("The most used settings")[2].partition("Examples:")[0].splitlines()[1:]
    assert max(map(len, part)) <= 80
    assert any(line.startswith(" " * 20) for line in part)
