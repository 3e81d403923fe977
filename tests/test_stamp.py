"""Guards: a folder of somebody else that is taken for a run (and pruned), a run whose files are taken for data."""

from pathlib import Path

import pytest

from manyheads.stamp import is_run_folder


def test_what_is_a_run_folder_and_what_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"real": "manyheads:\n  schema: 1\n", "other": "somebody: else\n"}.items():
        Path(name).mkdir()
        Path(name, "config.yaml").write_text(text)
    Path("link").symlink_to("real")
    assert is_run_folder(Path("real"))
    assert not any(is_run_folder(Path(name)) for name in ("link", "other", "absent", "real/config.yaml"))
