"""Guards: a copy of a repository that behaves unlike the hub, stale rows, and a hub that is waited for in vain."""

import itertools
import time
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from manyheads.data.hub import Hub, hub
from manyheads.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
README = """---
configs:
- config_name: big
  data_files:
  - {split: train, path: big/rows-a.parquet}
  - {split: dev, path: big/rows-b.parquet}
- config_name: small
  data_files:
  - {split: train, path: small/rows.parquet}
---
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository as on the hub, its splits told by the README, not by the files' names."""
    for name, texts in {"big/rows-a": ["a1", "a2"], "big/rows-b": ["b1"], "small/rows": ["s1", "s2", "s3"]}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        datasets.Dataset.from_dict({"sentence": texts}).to_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def texts(source: Hub, split: str) -> list[str]:
    return list(itertools.chain(*source.texts(split)))


def test_a_local_copy_follows_its_readme(copy: Path) -> None:
    big = hub(name=str(copy), config="big", text_column="sentence")
    assert big.given == ("train", "validation")
    assert texts(big, "validation") == ["b1"]
    assert sorted(texts(big, "train") + texts(big, "test")) == ["a1", "a2"]
    small = hub(name=str(copy), config="small", text_column="sentence", join_rows=True)
    assert [texts(small, split) for split in ("train", "validation", "test")] == [["s1"], ["s2"], ["s3"]]
    assert small.fingerprint != big.fingerprint


def test_validation_serves_as_test_where_asked(copy: Path) -> None:
    """Guards rows of train that are set aside all the same."""
    cut = hub(name=str(copy), config="big", text_column="sentence")
    asked = hub(name=str(copy), config="big", text_column="sentence", test_on_validation=True)
    assert [texts(asked, split) for split in ("train", "validation", "test")] == [["a1", "a2"], ["b1"], ["b1"]]
    assert asked.notes == ["no test split in the data: test is validation once more, not data of its own"]
    assert asked.fingerprint != cut.fingerprint
    with pytest.raises(
        UserError, match=r"data\.test_on_validation=true: the data has no validation split\. Give one, "
    ):
        hub(name=str(copy), config="small", text_column="sentence", test_on_validation=True).rows("train")


def test_a_changed_copy_is_read_again(copy: Path) -> None:
    before = hub(name=str(copy), config="big", text_column="sentence")
    assert texts(before, "validation") == ["b1"]
    datasets.Dataset.from_dict({"sentence": ["c1"]}).to_parquet(copy / "big/rows-b.parquet")
    after = hub(name=str(copy), config="big", text_column="sentence")
    assert after.fingerprint != before.fingerprint
    assert texts(after, "validation") == ["c1"]


def test_an_unknown_config_names_those_there_are(copy: Path) -> None:
    for config in (None, "bigg"):
        with pytest.raises(UserError, match=rf"data\.config={config} .*set one of big, small"):
            hub(name=str(copy), config=config, text_column="sentence").rows("train")


def test_an_absent_column_names_those_there_are(copy: Path) -> None:
    with pytest.raises(UserError, match=r"data\.text_column=text is no column.*It has: sentence"):
        hub(name=str(copy), config="big").rows("train")


def test_an_unreachable_hub_is_told_at_once() -> None:
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"data\.name=owner/name: the hub cannot be reached(.|\n)*data\.name=FOLDER"):
        hub(name="owner/name")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("name", "message"), [("not a name", "is not on the hub"), ("./gone", "no such folder"), (None, "is not set")]
)
def test_a_wrong_name_is_told(name: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hub(name=name)


def test_offline_the_commit_seen_last_and_its_rows_are_used(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is the folder here: what is asked of it is answered from there, until it is switched off."""
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / "cache"))

    def info(self: object, name: str, **settings: Any) -> huggingface_hub.DatasetInfo:
        return huggingface_hub.DatasetInfo(id=name, sha=COMMIT)

    def off(self: object, name: str, **settings: Any) -> huggingface_hub.DatasetInfo:
        raise ConnectionError("no network")

    load, names, asked = datasets.load_dataset, datasets.get_dataset_split_names, []

    def from_folder(function: Any) -> Any:
        def call(path: str, **settings: Any) -> Any:
            asked.append((path, settings.pop("revision")))
            return function(str(copy), **settings)

        return call

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", from_folder(load))
    monkeypatch.setattr(datasets, "get_dataset_split_names", from_folder(names))
    online = hub(name="owner/name", config="big", text_column="sentence")
    assert texts(online, "validation") == ["b1"]
    assert set(asked) == {("owner/name", COMMIT)}
    assert not any("cannot be reached" in line for line in online.notes)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", off)
    asked.clear()
    offline = hub(name="owner/name", config="big", text_column="sentence")
    assert offline.fingerprint == online.fingerprint
    assert texts(offline, "validation") == ["b1"]
    assert offline.notes[0] == "the hub cannot be reached: commit 01234567, seen here before"
    with pytest.raises(UserError, match="its rows were not fetched before"):
        offline.rows("train")
    assert asked == []
