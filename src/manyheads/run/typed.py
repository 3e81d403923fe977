"""A setting as a person types it: quoted for Hydra's grammar where its value needs that, then for the shell."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_/.:@%+-]+(?: +[A-Za-z0-9_/.:@%+-]+)*")
"""Values that Hydra's grammar reads as they are; it has no letters but those of ASCII outside of quotes."""


def command(verb: str) -> str:
    """How train or eval is called here: by the script, where one of the two was started, else by the console script."""
    script = Path(sys.argv[0]).name
    return f"python {verb}.py" if script in ("train.py", "eval.py") else f"manyheads {verb}"


def assignment(key: str, path: Path) -> str:
    """KEY=PATH as one word of a shell's command line; the path is relative where it is below the current directory."""
    value = shown(path)
    return shell_word(f"{key}={value if _PLAIN.fullmatch(value) else quoted(value)}")


def shell_word(text: str) -> str:
    """A text as one word of a shell, in double quotes where these are enough, for they read better around single ones."""
    if shlex.quote(text) == text or set(text) & set('"$`\\!'):
        return shlex.quote(text)
    return f'"{text}"'


def quoted(value: str) -> str:
    """A text in quotes of Hydra's grammar, in which a backslash is itself unless it stands before a quote."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"


def shown(path: Path) -> str:
    """A path as a person would name it: relative where it is below the current directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
