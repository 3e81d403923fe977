"""Field text: one text for each module and topic, all of its documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from manyheads.data.docstrings import module_text, topic_texts


def whole_texts(library: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """The documentation of each module, and each topic of `help`, by name. No paragraph is there twice."""
    return without_repeats(topic_texts(library) | {name: module_text(name, path) for name, path in files.items()})


def without_repeats(texts: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, str]:
    """One text for each name, from its (heading, body) sections, without any paragraph that an earlier one had.

    Paragraphs are compared with runs of white space as one space. Sections and names that have nothing left are left
    out.
    """
    seen: set[str] = set()
    kept: dict[str, str] = {}
    for name in sorted(texts):
        sections = []
        for heading, body in texts[name]:
            paragraphs = [part for part in _paragraphs(body) if not _known(part, seen)]
            if paragraphs:
                sections.append("\n\n".join([heading, *paragraphs]) if heading else "\n\n".join(paragraphs))
        if sections:
            kept[name] = "\n\n".join(sections) + "\n"
    return kept


def _paragraphs(text: str) -> list[str]:
    parts = "\n".join(line.rstrip() for line in text.split("\n")).split("\n\n")
    return [part.strip("\n") for part in parts if part.strip()]


def _known(paragraph: str, seen: set[str]) -> bool:
    key = " ".join(paragraph.split())
    if key in seen:
        return True
    seen.add(key)
    return False
