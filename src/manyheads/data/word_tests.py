"""Files that word vectors are tested with: analogies, and pairs of words with a score."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from manyheads.errors import UserError, did_you_mean

HEADING, REMARKS = ":", ("//", "#")


class Analogy(NamedTuple):
    """The first word is to the second as the third to the fourth."""

    section: str  # the heading above it, or nothing
    words: tuple[str, str, str, str]


class Pair(NamedTuple):
    """Two words, and how alike people find them."""

    first: str
    second: str
    score: float


def read_analogies(path: str | Path, key: str) -> list[Analogy]:
    """A file of lines `a b c d`, under headings `: section` or none, as Mikolov et al.'s questions-words.txt; lines that begin
    with // or # are remarks.

    Raises UserError, which names `key` and the line, for a file that cannot be read, has another line or no analogy.
    """
    found, section = [], ""
    for number, line in _lines(path, key):
        if line.startswith(HEADING):
            section = line[len(HEADING) :].strip()
            continue
        words = line.split()
        if len(words) != 4:
            raise _bad(path, key, number, f"an analogy is four words, and here are {len(words)}")
        found.append(Analogy(section, (words[0], words[1], words[2], words[3])))
    if not found:
        raise UserError(f"{key}={path} has no analogy: put four words on each line.")
    return found


def read_similarities(path: str | Path, key: str) -> list[Pair]:
    """A file of lines of two words and a score, between tabs, commas or white space, as WordSim-353's; further columns are
    not read, the first line may be a heading, and lines that begin with # or // are remarks.

    Raises UserError, which names `key` and the line, for a file that cannot be read, has another line or no pair.
    """
    found: list[Pair] = []
    heading = True  # may still come
    for number, line in _lines(path, key):
        sign = next((sign for sign in "\t," if sign in line), None)
        columns = [column.strip() for column in line.split(sign)]
        if len(columns) < 3 or not all(columns[:2]):
            raise _bad(path, key, number, f"a pair is two words and a score, and this line is {line[:60]!r}")
        score = _number(columns[2])
        if score is None and not heading:
            raise _bad(path, key, number, f"the score {columns[2]!r} is no number")
        if score is not None:
            found.append(Pair(columns[0], columns[1], score))
        heading = False
    if not found:
        raise UserError(f"{key}={path} has no pair: put two words and a score on each line.")
    return found


def _lines(path: str | Path, key: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers from 1 on."""
    path = Path(path)
    try:
        content = path.expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{key}={path} is not UTF-8 at byte {error.start}: save it as UTF-8.") from error
    except OSError as error:
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{key}={path} cannot be read: {error.strerror}.{did_you_mean(path.name, names)}") from error
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip() and not line.startswith(REMARKS):
            yield number, line.strip()


def _bad(path: str | Path, key: str, number: int, wrong: str) -> UserError:
    return UserError(f"{key}={path}, line {number}: {wrong}. Mend the line, or leave it out.")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
