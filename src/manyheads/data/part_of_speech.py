"""Words kept or left out by their part of speech, through spaCy."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manyheads.data.cache import fingerprint
from manyheads.data.clean import Step
from manyheads.data.digest import digest
from manyheads.errors import UserError, check_choice

TAGS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM",
    "VERB", "X",
)  # fmt: skip
"""The universal tags. Source: Petrov et al. 2012; Universal Dependencies version 2 (Nivre et al. 2020)."""

_LIBRARY = "pip install 'manyheads[spacy]'"
_UNUSED = ("parser", "ner", "lemmatizer")


def parts_of_speech(tags: Sequence[str], *, keep: bool, model: str) -> Step:
    """Keeps the words of these tags alone, or leaves them out; line breaks stay.

    `model` is a spaCy pipeline: the name of its package, or its folder. Raises UserError when it or spaCy is not there.
    """
    chosen = frozenset(tags)
    for tag in tags:
        check_choice(f"data.{'keep_pos' if keep else 'drop_pos'}", tag, TAGS)
    if importlib.util.find_spec("spacy") is None:
        raise UserError(
            f"data.pos_model={model}: parts of speech are found by spaCy, which is not installed.\n"
            f"{_LIBRARY}, then python -m spacy download {model}"
        )
    state = _state(model)

    def change(texts: Sequence[str]) -> list[str]:
        return [_filtered(document, chosen, keep) for document in _pipeline(model).pipe(texts)]

    said = f"{'only' if keep else 'without'} {', '.join(sorted(chosen))} ({model})"
    return Step(said, ["pos", sorted(chosen), keep, state], change)


def _filtered(document: Any, chosen: frozenset[str], keep: bool) -> str:
    text = ""
    for token in document:
        # a token of white space is tagged SPACE, which nobody chooses
        if token.is_space or (token.pos_ in chosen) == keep:
            text += token.text_with_ws
        elif text and not text[-1].isspace():
            text += token.whitespace_  # "cat, dog" without its comma is two words still
    return text


def _state(model: str) -> list[str]:
    """What stands for the pipeline's content, without loading it."""
    folder = Path(model).expanduser()
    if (folder / "meta.json").is_file():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return [
            importlib.metadata.version("spacy"),
            fingerprint([[str(f.relative_to(folder)), digest(f)] for f in files]),
        ]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        return [importlib.metadata.version("spacy"), model, importlib.metadata.version(model)]
    raise UserError(
        f"data.pos_model={model} is neither an installed spaCy pipeline nor the folder of one.\n"
        "Get one with python -m spacy download en_core_web_sm, or set data.pos_model."
    )


@functools.lru_cache(maxsize=1)
def _pipeline(model: str) -> Any:
    import spacy  # pyright: ignore[reportMissingImports]

    folder = Path(model).expanduser()
    pipeline = spacy.load(folder if folder.is_dir() else model, exclude=_UNUSED)
    pipeline.max_length = 1 << 40  # its guard is against the memory of the parser, which is left out
    return pipeline
