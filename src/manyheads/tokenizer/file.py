"""A tokenizer out of a file in the format of the `tokenizers` library (tokenizer.json)."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers

from manyheads.data.source import Source
from manyheads.errors import UserError, did_you_mean
from manyheads.marks import builder
from manyheads.tokenizer.base import END, Tokenizer

FILE = "tokenizer.json"
CONFIG = "tokenizer_config.json"
# what models of the last years put after a text, then what comes nearest to it
END_TOKENS = (END, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|im_end|>", "[SEP]", "<s>", "[CLS]")
# white space, marks, accents whole and combined, other scripts, an emoji of several code points, a control character
_PROBES = (" a  b\n\n\tC d's ", "É e\u0301 ß 東京 ... \u200b", "x <|y|> 👩‍👩‍👧 \x00\r\n12,345.6")


@builder
def from_file(*, source: Source, path: str | None = None) -> Tokenizer:
    """The tokenizer of a tokenizer.json, or of a folder that holds one. The source is not read.

    Args:
        source: not read.
        path: that file or folder.

    The end of a text is the eos token that tokenizer_config.json beside it names, else the first of `END_TOKENS`.
    Raises UserError when the file is not there, is none, or has no such token.
    """
    if not path:
        raise UserError("tokenizer.path is not set. Set tokenizer.path to a tokenizer.json or a folder with one.")
    place = Path(path).expanduser()
    file = place / FILE if place.is_dir() else place
    if not file.is_file():
        names = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise UserError(
            f"tokenizer.path={path}: there is no {file.name} in {file.parent.absolute()}."
            f"{did_you_mean(file.name, names)} "
            "Set the path of a tokenizer.json."
        )
    return read(
        file, name=place.stem if place.is_file() and place.name != FILE else file.absolute().parent.name, key="path"
    )


def read(file: Path, *, name: str, key: str) -> Tokenizer:
    """The tokenizer in a file. `key` is what errors name: tokenizer.<key>."""
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"tokenizer.{key}={file} cannot be read ({error}). Set another one.") from error
    try:
        if "backend" in json.loads(content):  # one that was kept with a run
            return Tokenizer.from_json(content)
        backend = tokenizers.Tokenizer.from_str(content)
    except Exception as error:  # the library raises a bare Exception for everything
        raise UserError(
            f"tokenizer.{key}={file} is no file of the tokenizers library ({str(error)[:100]}). "
            "Set another one, e.g. what Tokenizer.save wrote."
        ) from error
    end = _end_token(backend, file, key)
    tokenizer = Tokenizer(backend, name=name, lossless=False, end=end)
    lossless = all(tokenizer.decode(tokenizer.encode(probe)) == probe for probe in _PROBES)
    return Tokenizer(backend, name=name, lossless=lossless, end=end)


def _end_token(backend: tokenizers.Tokenizer, file: Path, key: str) -> str:
    config = file.with_name(CONFIG)
    named = json.loads(config.read_text(encoding="utf-8")).get("eos_token") if config.is_file() else None
    token = named.get("content") if isinstance(named, dict) else named
    for candidate in (token, *END_TOKENS):
        if candidate is not None and backend.token_to_id(candidate) is not None:
            return candidate
    raise UserError(
        f"tokenizer.{key}={file} has no token for the end of a text, none of {', '.join(END_TOKENS)}. "
        f"Add one of them, or name it as eos_token in a {CONFIG} beside it."
    )
