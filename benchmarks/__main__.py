"""All benchmarks, or those named, each in a process of its own; one table.

python -m benchmarks [NAME...] [--rounds N] [--json FILE] [--peer NAME=PATH]...
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from benchmarks.base import Row, arguments, table

FOLDER = Path(__file__).parent
Measure = Callable[[str, int], list[Row]]


def names(folder: Path = FOLDER) -> list[str]:
    """The files that declare a benchmark, without importing them."""
    return sorted(
        path.stem
        for path in folder.glob("*.py")
        if re.search(r"^BENCHMARK = ", path.read_text(encoding="utf-8"), re.MULTILINE)
    )


def measured(name: str, rounds: int) -> list[Row]:
    """One benchmark, in a process of its own, from the checkout's root."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "rows.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", "--rounds", str(rounds), "--json", str(found)]
        code = subprocess.run(command, cwd=FOLDER.parent, stdout=subprocess.DEVNULL, check=False).returncode
        if code == 0:
            return [Row(**row) for row in json.loads(found.read_text(encoding="utf-8"))]
    return [Row(name, "", "", None, "", "", 0, note=f"failed: exit {code}, see above")]


def main(argv: Sequence[str] | None = None, measure: Measure = measured, folder: Path = FOLDER) -> int:
    """Prints the table; 1 where a benchmark failed (a goal that is missed is no failure)."""
    known = names(folder)
    parser = arguments(argparse.ArgumentParser(prog="benchmarks", description=f"Benchmarks: {', '.join(known)}"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all where none is named")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help="a checkout of a peer")
    words = parser.parse_args(argv)
    if unknown := sorted(set(words.names) - set(known)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    for each in words.peer:
        name, _, path = each.partition("=")
        os.environ[f"BENCHMARKS_{name.upper()}"] = path
    rows = [row for name in words.names or known for row in measure(name, words.rounds)]
    if words.json:
        words.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    Console(width=None if sys.stdout.isatty() else 160).print(table(rows))
    return int(any(row.note.startswith("failed") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
