"""Guards: a hub that is waited for in vain, and a local copy that is not taken."""

import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from manyheads.errors import UserError
from manyheads.testing import Rows
from manyheads.tokenizer.byte import byte
from manyheads.tokenizer.hub import from_hub

SOURCE = Rows({"train": ["a"]})
COMMIT = "a" * 40


def test_a_folder_is_a_copy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.name=.*has no tokenizer.json"):
        from_hub(source=SOURCE, name=str(tmp_path))
    byte(source=SOURCE).backend.save(str(tmp_path / "tokenizer.json"))
    assert from_hub(source=SOURCE, name=str(tmp_path)).encode("é") == [0xC3, 0xA9]


def test_an_unreachable_hub_is_told_at_once() -> None:
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"tokenizer\.name=o/n: the hub cannot be reached(.|\n)*tokenizer\.path=FILE"):
        from_hub(source=SOURCE, name="o/n")
    assert time.perf_counter() - start < 5
    with pytest.raises(UserError, match=r"tokenizer\.name is not set"):
        from_hub(source=SOURCE)


def test_the_files_of_one_commit_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch could move between two files."""
    byte(source=SOURCE).backend.save(str(tmp_path / "tokenizer.json"))
    asked = []

    def info(self: object, name: str, **settings: Any) -> huggingface_hub.ModelInfo:
        return huggingface_hub.ModelInfo(id=name, sha=COMMIT)

    def download(name: str, file: str, **settings: Any) -> str:
        asked.append((name, file, settings["revision"]))
        if file != "tokenizer.json":
            raise errors.EntryNotFoundError("none")
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    tokenizer = from_hub(source=SOURCE, name="o/n", revision="main")
    assert tokenizer.name == "o/n"
    assert asked == [("o/n", "tokenizer.json", COMMIT), ("o/n", "tokenizer_config.json", COMMIT)]
