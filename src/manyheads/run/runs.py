"""The verb `runs`: list, compare and prune the runs on disk."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from manyheads.errors import EXIT_DONE, UserError
from manyheads.run.find import OUTPUTS, Run, find_runs, pick_run
from manyheads.run.prune import delete, plan, size
from manyheads.run.table import TEXTS, as_json, diff_rows, diff_table, runs_table, size_text, sort_runs

_EPILOG = """\
examples:
  manyheads runs                                      the newest first
  manyheads runs --sort val/bits_per_byte --limit 5   the best five
  manyheads runs /scratch/outputs --json              another folder, for a program
  manyheads runs --diff 2026-01-31_12 2026-02-01      two runs, by the beginning of their names
  manyheads runs --prune --keep-best 3 --keep-newest 5

status: done, running, interrupted, failed; silent: not ended, but nothing written for 15 minutes; unknown;
damaged: results.json cannot be read; newer: written by a newer version
exit codes: 0 done; 1 a mistake
"""


_ANY_WIDTH = 10_000


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized arguments"):
            close = difflib.get_close_matches(unknown[0], flags, n=1, cutoff=0.6)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UserError(
                f"{unknown[0]}: runs does not know this.{hint} `manyheads runs --help` lists what it knows."
            )
        raise UserError(f"runs: {message}. `manyheads runs --help` shows how it is called.")


def make_parser() -> argparse.ArgumentParser:
    """The options of `manyheads runs`."""
    parser = _Parser(
        prog="manyheads runs",
        description="Lists the runs on disk, newest first; compares two; deletes all but the best and the newest.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", nargs="?", type=Path, default=OUTPUTS, help="where to look (default: outputs)")
    parser.add_argument("--sort", metavar="NUMBER", help="best first by val/bits_per_byte, test/loss, run/steps, ...")
    parser.add_argument("--limit", type=_count, metavar="N", help="show so many at most")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--diff", nargs=2, metavar=("A", "B"), help="two runs by path, name or beginning of the name")
    parser.add_argument(
        "--prune", action="store_true", help="delete all but the best and the newest; lists them and asks first"
    )
    parser.add_argument(
        "--keep-best", type=_count, default=5, metavar="N", help="with --prune: so many of the best stay (5)"
    )
    parser.add_argument(
        "--keep-newest", type=_count, default=5, metavar="N", help="with --prune: so many of the newest stay (5)"
    )
    parser.add_argument(
        "--by", default="val/bits_per_byte", metavar="NUMBER", help="with --prune: what best means (%(default)s)"
    )
    parser.add_argument("--yes", action="store_true", help="with --prune: do not ask")
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the verb and returns the exit code. Raises UserError."""
    args = make_parser().parse_args(list(argv))
    _check_together(args)
    if args.folder != OUTPUTS and not args.folder.is_dir():
        raise UserError(f"{args.folder}: there is no such folder. Name an outputs folder, or leave it out.")
    runs = find_runs(args.folder)
    if args.diff:
        return _diff(runs, args)
    if args.prune:
        return _prune(runs, args)
    if args.sort is not None:
        runs = sort_runs(runs, args.sort)
    runs = runs[: args.limit]
    if args.json:
        sys.stdout.write(as_json(runs) + "\n")
    elif not runs:
        sys.stdout.write(f"no runs under {args.folder}. `manyheads train` makes one.\n")
    else:
        _print(*(runs_table(runs, args.sort, texts) for texts in (TEXTS, TEXTS[1:], ())))
        _notes(runs)
    return EXIT_DONE


def _check_together(args: argparse.Namespace) -> None:
    """Raises UserError for flags of which one would be passed over."""
    for flag in ("json", "sort", "limit", "diff"):
        value = getattr(args, flag)
        if args.prune and value is not None and value is not False:
            raise UserError(f"--prune does not go with --{flag}: leave one of them out.")
    for flag in ("sort", "limit"):
        if args.diff and getattr(args, flag) is not None:
            raise UserError(f"--diff does not go with --{flag}: leave one of them out.")


def _diff(runs: list[Run], args: argparse.Namespace) -> int:
    one, other = (pick_run(text, runs, "--diff") for text in args.diff)
    if args.json:
        import json

        settings, metrics = diff_rows(one, other)
        rows = {"runs": [one.name, other.name], "config": settings, "numbers": [row[:3] for row in metrics]}
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        _print(diff_table(one, other))
        _notes([one, other])
    return EXIT_DONE


def _prune(runs: list[Run], args: argparse.Namespace) -> int:
    todo = plan(runs, args.folder, keep_best=args.keep_best, keep_newest=args.keep_newest, by=args.by)
    for run, reason in todo.keep:
        sys.stdout.write(f"keep    {run.name} ({reason})\n")
    sizes = {run.path: size(run.path) for run in todo.go}
    for run in todo.go:
        sys.stdout.write(f"delete  {run.path} ({run.status}, {size_text(sizes[run.path])})\n")
    if not todo.go:
        sys.stdout.write("nothing to delete\n")
        return EXIT_DONE
    if not args.yes and not _agreed(len(todo.go), size_text(sum(sizes.values()))):
        sys.stdout.write("nothing deleted\n")
        return EXIT_DONE
    freed = 0
    for run in todo.go:
        delete(run.path)
        freed += sizes[run.path]
    sys.stdout.write(f"deleted {len(todo.go)} runs, freed {size_text(freed)}\n")
    return EXIT_DONE


def _agreed(count: int, freed: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError("--prune asks before it deletes, and there is no terminal to ask on: add --yes.")
    try:
        return input(f"Delete {count} runs and free {freed}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _notes(runs: list[Run]) -> None:
    for run in runs:
        if run.status in ("damaged", "newer"):
            sys.stderr.write(f"note: {run.note}\n")


def _print(*tables: Any) -> None:
    """Prints the first of the tables that fits into the terminal, else the last."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width: never cut a line there
        console.width = 240
    room = Console(width=_ANY_WIDTH)  # a console finds no table to be wider than itself
    fits = (table for table in tables if room.measure(table).maximum <= console.width)
    console.print(next(fits, tables[-1]))


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return int(text)
