"""Guards: two runs that share a folder, and a folder that is taken for a run."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from manyheads.errors import UserError
from manyheads.run.folder import (
    RunFolder,
    config_text,
    make_run_folder,
    open_run_folder,
    parse_config,
    read_config,
    write_config,
)


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    """Eight at once: a check before the making would let two of them share."""
    now = datetime(2026, 11, 25, 12, 0, 0)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_run_folder(tmp_path, "generation", "tiny", now).path.name, range(8)))
    stem = "2026-11-25_12-00-00-generation-tiny"
    assert sorted(made) == [stem, *(f"{stem}-{i}" for i in range(2, 9))]


def test_a_name_alone_is_that_of_a_run_beneath_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `manyheads runs` shows it; a folder that is there comes first, and only folders are proposed."""
    monkeypatch.chdir(tmp_path)
    made = make_run_folder(Path("outputs/runs"), "generation", "tiny")
    write_config(made, "manyheads: {}")
    (tmp_path / made.path.name[0]).touch()
    assert open_run_folder(made.path.name, "run").path == made.path.resolve()
    with pytest.raises(UserError) as caught:
        open_run_folder(made.path.name[:-1], "run")
    assert f"there is no such folder. Did you mean '{made.path.name}'?" in str(caught.value)
    (tmp_path / made.path.name).mkdir()
    with pytest.raises(UserError, match="is no run folder"):
        open_run_folder(made.path.name, "run")


def test_config_comes_back_with_its_stamp(tmp_path: Path) -> None:
    cfg = OmegaConf.create({"seed": 3, "data": {"path": "ü.txt"}})
    write_config(RunFolder(tmp_path), config_text(cfg, {"task": "generation"}))
    read, stamp = read_config(RunFolder(tmp_path))
    assert read == cfg
    assert stamp["schema"] == 1
    assert stamp["choices"] == {"task": "generation"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1", "is not the config of a manyheads run"),
        ("- 1", "is not the config of a manyheads run"),
        ("a: [", "cannot be read as a config"),
        ("manyheads: {schema: 99, version: 7.0}", r"was written by manyheads 7\.0 \(schema 99\)"),
    ],
)
def test_a_config_that_is_not_ours_says_so(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_config(text, "x/config.yaml")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "2026-run").mkdir()
    with pytest.raises(UserError, match=r"run=.*2026-rum: there is no such folder\. Did you mean '2026-run'"):
        open_run_folder(tmp_path / "2026-rum", "run")
    with pytest.raises(UserError, match=r"resume=.* is no run folder"):
        open_run_folder(tmp_path / "2026-run", "resume")


def test_reports_are_kept_by_their_names(tmp_path: Path) -> None:
    RunFolder(tmp_path).keep({"found.json": {"text": "é"}})
    assert (tmp_path / "found.json").read_text(encoding="utf-8") == '{\n  "text": "é"\n}\n'
