"""Guards lines that are read as another test than they are, or left out without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyheads.data.word_tests import Analogy, Pair, read_analogies, read_similarities
from manyheads.errors import UserError


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "tests.txt"
    file.write_bytes(text.encode())
    return file


def test_analogies_with_headings_and_without(tmp_path: Path) -> None:
    file = written(tmp_path, "// from somewhere\na b c d\n: capital-common\n\nAthens Greece  Oslo\tNorway\r\n")
    assert read_analogies(file, "key") == [
        Analogy("", ("a", "b", "c", "d")),
        Analogy("capital-common", ("Athens", "Greece", "Oslo", "Norway")),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Word 1,Word 2,Human (mean)\nlove,sex,6.77\ntiger,cat,7\n",
        "# a remark\nlove\tsex\t6.77\ntiger\tcat\t7.0\tmore\n",
        "love sex 6.77\r\ntiger  cat 7\r\n",
        "\ufeffword1\tword2\tscore\nlove\tsex\t6.77\n\ntiger\tcat\t7",
    ],
)
def test_pairs_as_they_are_published(text: str, tmp_path: Path) -> None:
    assert read_similarities(written(tmp_path, text), "key") == [Pair("love", "sex", 6.77), Pair("tiger", "cat", 7.0)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a b c d\na b c\n", "line 2: an analogy is four words, and here are 3. Mend the line, or leave it out."),
        (": only\n", "has no analogy: put four words on each line."),
        ("", "has no analogy: put four words on each line."),
    ],
)
def test_bad_analogies_are_told_with_their_line(text: str, told: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_analogies(file, "task.analogies")
    assert str(error.value).startswith(f"task.analogies={file}")
    assert str(error.value).endswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\tb\t1\n\nc\td\n", "line 3: a pair is two words and a score, and this line is 'c\\td'. Mend"),
        ("a,b,1\nc,,2\n", "line 2: a pair is two words and a score, and this line is 'c,,2'. Mend"),
        ("first,second,score\na,b,much\n", "line 2: the score 'much' is no number. Mend"),
        ("a,b,1\na,b,nan\n", "line 2: the score 'nan' is no number. Mend"),
        ("first,second,score\n", "has no pair: put two words and a score on each line."),
    ],
)
def test_bad_pairs_are_told_with_their_line(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_similarities(written(tmp_path, text), "task.similarities")
    assert told in str(error.value)


@pytest.mark.parametrize("read", [read_analogies, read_similarities])
def test_a_file_that_cannot_be_read(read, tmp_path: Path) -> None:
    (tmp_path / "questions.txt").write_bytes(b"a b c \xff\n")
    with pytest.raises(UserError, match=r"key=.*quetsions\.txt cannot be read: .*Did you mean 'questions\.txt'\?"):
        read(tmp_path / "quetsions.txt", "key")
    with pytest.raises(UserError, match=r"key=.*questions\.txt is not UTF-8 at byte 6: save it as UTF-8\."):
        read(tmp_path / "questions.txt", "key")
