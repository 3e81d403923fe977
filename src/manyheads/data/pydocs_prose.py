"""Docstrings as plain text: examples and markup taken out, wrapped lines joined, the summary apart from the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WIDTH = 58
"""A line that had no room for the next word within so many characters was wrapped; docstrings lost their indentation."""

_EXAMPLE = re.compile(r"^\W*(for )?(e\.g\.?|i\.e\.?|examples?|usage|sample usage|typical usage)\b[^.]*:{1,2}\W*$", re.I)
_DIRECTIVE = re.compile(r"\s*\.\. [\w-]+::")
_ROLE = re.compile(r":[a-z]+(?::[a-z]+)?:`([^`]+)`")
_QUOTED = re.compile(r"``([^`\n]+)``|`([^`'\n]+)[`']")
_ITEM = re.compile(r"\s*([-*+o•@]\s|\d+[.)]\s|[\w*.\[\]'\"()]+\s*(--|: |:$)|:\w+|\|)")
_CALL = re.compile(r"([\w.]+\(.*\))?(\s*(->|=>).*)?")
_CALLED = re.compile(r"\A[\w.]+\s*(?:\([^()]*\))?\s+(?:--?|->|:)\s+(?=[A-Za-z])")
_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!\bvs)(?<!\bcf)(?<!\betc)[.!?]['\")]*(?=\s+[A-Z\"'(*\[_0-9]|\s*$)")


def prose(docstring: str) -> str:
    """A docstring without doctests, directives and roles, and without the signature that some begin with.

    Paragraphs stay apart by a blank line; wrapped lines are joined, those of lists are not.
    """
    lines = _without_blocks(docstring.expandtabs().split("\n"))
    text = "\n".join(_joined(line.rstrip() for line in lines))
    text = _ROLE.sub(_role_target, text)
    text = _QUOTED.sub(lambda found: found[1] or found[2], text)
    paragraphs = [part.strip("\n") for part in re.split(r"\n\s*\n", text)]
    kept = [part for part in paragraphs if part.strip() and not _EXAMPLE.match(part)]
    while len(kept) > 1 and kept[-1].endswith(":") and "\n" not in kept[-1]:  # what it announced was an example
        kept.pop()
    text = re.sub(r"(?<=\S) {2,}", " ", re.sub(r"::$", ":", "\n\n".join(kept), flags=re.M))
    lines = text.split("\n")
    while lines and _CALL.fullmatch(lines[0].strip()):
        lines.pop(0)
    return "\n".join([_CALLED.sub("", lines[0], count=1), *lines[1:]]).strip() if lines else ""


def summary_and_body(text: str) -> tuple[str, str]:
    """The first sentence of a text that `prose` made, and what follows it; ("", text) when it begins otherwise."""
    line, _, rest = text.partition("\n")
    end = _END.search(line)
    if end:
        return line[: end.end()].strip(), f"{line[end.end() :].strip()}\n{rest}".strip()
    if line.rstrip().endswith((":", ",", "-")) or (rest and not rest.startswith("\n")):
        return "", text
    return line.strip(), rest.strip()


def key(text: str) -> str:
    """What is left to compare texts by: their letters, in lower case."""
    return re.sub(r"[\W\d_]+", " ", text.lower()).strip()


def words(text: str) -> int:
    """How many words a text has."""
    return len(text.split())


def _without_blocks(lines: list[str]) -> Iterator[str]:
    """The lines without doctests, which end at a blank line, and without directives and what is indented below them."""
    inside, depth = False, -1
    for line in lines:
        indent = len(line) - len(line.lstrip())
        inside = bool(line.strip()) and (inside or line.lstrip().startswith(">>>"))
        if _DIRECTIVE.match(line):
            depth = indent
        elif depth >= 0 and line.strip() and indent <= depth:
            depth = -1
        if not inside and depth < 0:
            yield line
        elif not line.strip():
            yield ""


def _joined(lines: Iterator[str]) -> Iterator[str]:
    whole, last = "", ""
    for line in lines:
        if last and line and _wrapped(last, line):
            whole = f"{whole} {line.strip()}"
        else:
            yield from [whole] if last or whole else [""]
            whole = line
        last = line
    yield whole


def _wrapped(before: str, line: str) -> bool:
    """Whether a line goes on where the one before it was full, or where its sentence was not over."""
    if before.endswith(":") or _ITEM.match(line):
        return False
    if _indent(line) >= _indent(before) and len(before) + 1 + len(line.split()[0]) > _WIDTH:
        return True
    return line[0].islower() and before[0].strip() != "" and before[-1] not in ".;" and len(before) > _WIDTH // 2


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _role_target(found: re.Match[str]) -> str:
    title = re.sub(r"\s*<[^>]*>$", "", found[1])
    return title.rpartition(".")[2] if title.startswith("~") else title.lstrip("!")
