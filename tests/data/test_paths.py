"""Guards: a file that lands in the wrong split or in none, silently; and paths whose fault is told without a remedy."""

from pathlib import Path

import pytest

from manyheads.data.paths import find
from manyheads.errors import UserError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = ["train-00.txt", "train-01.txt", "my_dev.txt.gz", "test/part.txt", "notes.txt", "table.csv", ".hidden.txt"]
    for name in [*names, "plain/one.txt", "plain/two.txt", "plain/latest.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "none").mkdir()
    (tmp_path / "zero.txt").touch()
    return tmp_path


def names(found: dict[str, list[Path]]) -> dict[str, list[str]]:
    return {split: [file.name for file in files] for split, files in found.items()}


def test_names_of_files_and_folders_say_the_split(tree: Path) -> None:
    found = find(str(tree), (".txt",))
    assert names(found.files) == {
        "train": ["train-00.txt", "train-01.txt"],
        "validation": ["my_dev.txt.gz"],
        "test": ["part.txt"],
    }
    assert found.notes == ["4 file(s) passed over, their names say no split: notes.txt"]


def test_without_such_names_all_is_train(tree: Path) -> None:
    """'latest' holds the letters of 'test', the folder above 'train-00' does not count either."""
    assert names(find(str(tree / "plain"), (".txt",)).files) == {"train": ["latest.txt", "one.txt", "two.txt"]}
    assert names(find(str(tree / "plain" / "one.txt"), (".csv",)).files) == {"train": ["one.txt"]}


def test_globs_lists_and_mappings(tree: Path) -> None:
    assert names(find(f"{tree}/train-*.txt", (".txt",)).files) == {"train": ["train-00.txt", "train-01.txt"]}
    both = [str(tree / "plain" / "two.txt"), str(tree / "plain" / "one.txt")]
    assert names(find(both, (".txt",)).files) == {"train": ["two.txt", "one.txt"]}
    mapping = {"train": str(tree / "test" / "part.txt"), "val": [str(tree / "notes.txt")]}
    assert names(find(mapping, (".txt",)).files) == {"train": ["part.txt"], "validation": ["notes.txt"]}


def test_a_file_with_magic_characters_in_its_name_is_a_file(tree: Path) -> None:
    (tree / "a[1].txt").write_text("x")
    assert names(find(str(tree / "a[1].txt"), (".txt",)).files) == {"train": ["a[1].txt"]}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{}/notez.txt", r"no such file or folder. Did you mean 'notes.txt'"),
        ("{}/gone/x.txt", r"The folder .*gone is not there either"),
        ("{}/none", r"folder without .txt files; it is empty"),
        ("{}/q*.txt", r"no file matches"),
        ("{}/zero.txt", r"zero.txt is empty"),
        (None, r"data.path is not set"),
        ({"trian": "x"}, r"set a file for each of train, validation, test. Did you mean 'train'"),
        ({}, r"set a file for each"),
        ("", r"data.path is not set"),
        ([], r"data.path is not set"),
    ],
)
def test_faults_are_told(path: str | dict[str, str] | None, message: str, tree: Path) -> None:
    with pytest.raises(UserError, match=message) as told:
        find(path.format(tree) if isinstance(path, str) else path, (".txt",))
    assert "data.path" in str(told.value)


def test_a_folder_with_other_files_says_which(tree: Path) -> None:
    with pytest.raises(UserError, match=r"without .parquet files; it has my_dev.txt.gz"):
        find(str(tree), (".parquet",))


def test_what_runs_left_below_the_folder_is_not_data(tree: Path) -> None:
    """`data.path=.` where a run before wrote outputs/ here; a run folder that is named itself is what is meant."""
    run = tree / "plain" / "outputs" / "runs" / "one"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("manyheads:\n  schema: 1\n")
    (run / "log.txt").write_text("a line")
    assert names(find(str(tree / "plain"), (".txt",)).files) == {"train": ["latest.txt", "one.txt", "two.txt"]}
    assert names(find(str(run), (".txt",)).files) == {"train": ["log.txt"]}
