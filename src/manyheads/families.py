"""The verb `families`: which task goes with which head and which network, and why the others do not."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from manyheads.errors import EXIT_DONE, UserError, did_you_mean

if TYPE_CHECKING:
    from rich.table import Table

PAGE = Path("docs/families.md")

_FLAGS = ("--json", "--markdown", "--config-dir", "--allow", "--help")
_EPILOG = """\
The same function refuses a pair in train before any data is read. `manyheads train task=NAME` alone takes the head and the
network that stand beside the task; head= and model= choose others.

examples:
  manyheads families
  manyheads families --json                                          each task, head and network, with the reason of a no
  manyheads families --config-dir my/conf --allow my_tasks           with choices of your own
"""
_INTRO = """\
# What goes together

`manyheads families --markdown` writes this page from [conf/](../conf) and from the classes that the yamls there name. The same
function refuses what does not go together, before any data is read. `python train.py task=NAME` alone takes the head and the
network of the last column; `head=` and `model=` choose others. `task=mixture` goes with each network that all of its members go
with.
"""


class Family(NamedTuple):
    """A task, a head and a network, by their choices."""

    task: str
    head: str
    model: str
    kind: str  # of the network
    works: bool
    reason: str | None  # why it does not


class Families(NamedTuple):
    """All there are.

    Attributes:
        members: each task with each head and each network.
        alone: task -> the head and the network that it takes when it alone is named.
    """

    members: list[Family]
    alone: dict[str, tuple[str, str]]

    @property
    def kinds(self) -> dict[str, list[str]]:
        """Kind of network -> the choices that are of it."""
        found: dict[str, list[str]] = {}
        for member in self.members:
            names = found.setdefault(member.kind, [])
            if member.model not in names:
                names.append(member.model)
        return dict(sorted(found.items()))

    def heads(self, task: str, kind: str) -> list[str]:
        """The heads with which a task goes with a kind of network."""
        found = (one.head for one in self.members if one.works and (one.task, one.kind) == (task, kind))
        return list(dict.fromkeys(found))

    def reasons(self) -> dict[tuple[str, str, str], str]:
        """(task, heads, kind of network or "any") -> why they do not go together, each once."""
        found: dict[tuple[str, str, str], list[str]] = {}  # (task, reason, kind) -> heads
        for one in self.members:
            if one.reason is not None:
                alike = (o.kind for o in self.members if (o.task, o.head, o.reason) == (one.task, one.head, one.reason))
                kind = "any" if len({*alike}) == len(self.kinds) else one.kind
                heads = found.setdefault((one.task, one.reason, kind), [])
                heads += [one.head] * (one.head not in heads)
        return {(task, " ".join(heads), kind): reason for (task, reason, kind), heads in found.items()}


def families_main(argv: Sequence[str]) -> int:
    """The verb with its arguments; returns the exit code. Raises UserError."""
    args = make_parser().parse_args(list(argv))
    found = families(args.config_dir, args.allow)
    if args.json:
        told = [one._asdict() for one in found.members]
        alone = {task: {"head": head, "model": model} for task, (head, model) in found.alone.items()}
        sys.stdout.write(json.dumps({"families": told, "alone": alone}, indent=2) + "\n")
    elif args.markdown:
        _write_page(args.markdown, found)
    else:
        _show(found)
    return EXIT_DONE


def make_parser() -> argparse.ArgumentParser:
    """The options of `manyheads families`."""
    parser = _Parser(
        prog="manyheads families",
        description="Tells which task goes with which head and which network, and why the others do not.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="JSON, for programs")
    parser.add_argument(
        "--markdown", nargs="?", const=PAGE, type=Path, metavar="FILE", help="write it as a page (docs/families.md)"
    )
    parser.add_argument(
        "--config-dir", metavar="DIR", help="a folder of your own yamls: DIR/task/mine.yaml is task=mine"
    )
    parser.add_argument(
        "--allow",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules that your yamls may build from; trust them first",
    )
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        said = message.removeprefix("unrecognized arguments: ")
        if said != message:
            word = said.split()[0]
            raise UserError(
                f"{word}: families does not know this.{did_you_mean(word, _FLAGS)} `manyheads families --help` lists what "
                "it knows."
            )
        raise UserError(f"families: {message}. `manyheads families --help` shows how it is called.")


def families(config_dir: str | None = None, allow: Iterable[str] = ()) -> Families:
    """Every task with every head and every network that the config tree has. Raises UserError for a folder or a yaml that
    cannot be read."""
    from manyheads.build import CONF_DIR
    from manyheads.compatibility import classes, kinds_of_models, refusal
    from manyheads.run.compose import compose

    dirs = [CONF_DIR, *([Path(config_dir).expanduser()] if config_dir else [])]
    tasks, heads = classes("task", dirs, allow), classes("head", dirs, allow)
    models = kinds_of_models(dirs, allow)
    alone = {}
    for name in tasks:
        choices = compose("train", [f"task={name}"], CONF_DIR, None, config_dir).choices
        alone[name] = (choices["head"], choices["model"])
    members = []
    for task, task_class in tasks.items():
        for head, head_class in heads.items():
            for model, kind in models.items():
                found = refusal(task_class, head_class, kind, task_name=task, head_name=head)
                reason = None
                if found:
                    own = [name for name, other in heads.items() if other.__name__ in task_class.heads]
                    reason = (
                        found.text
                        if found.by_kind
                        else f"task={task} is learned with {' or '.join(f'head={name}' for name in own)}"
                    )
                members.append(Family(task, head, model, kind, found is None, reason))
    return Families(members, alone)


def page(found: Families) -> str:
    """The page of docs, as Markdown."""
    kinds = found.kinds
    parts = [_INTRO]
    parts.append(_markdown(["task", *kinds, "alone"], ([f"`{task}`", *cells] for task, cells in _rows(found))))
    parts.append("A cell names the heads with which the task goes with a network of that kind.\n\n## Networks")
    parts.append(_markdown(["kind", "`model=`"], ([kind, " ".join(f"`{n}`" for n in kinds[kind])] for kind in kinds)))
    parts.append("## Why not")
    rows = (
        [f"`{task}`", " ".join(f"`{head}`" for head in heads.split()), kind, why]
        for (task, heads, kind), why in found.reasons().items()
    )
    parts.append(_markdown(["task", "head", "network", "why not"], rows))
    return "\n".join([parts[0], *(f"{part}\n" for part in parts[1:])])


def _rows(found: Families) -> Iterator[tuple[str, list[str]]]:
    """For each task its heads by kind of network, and what it takes alone."""
    for task, (head, model) in found.alone.items():
        cells = [" ".join(f"`{name}`" for name in found.heads(task, kind)) or "-" for kind in found.kinds]
        yield task, [*cells, f"`head={head}` `model={model}`"]


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _write_page(path: Path, found: Families) -> None:
    from manyheads.run.output import Output

    with Output(path, "--markdown", "families.md").open() as file:
        file.write(page(found))


def _show(found: Families) -> None:
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 118)
    for table in tables(found):
        console.print(table)
        console.print()


def tables(found: Families) -> list[Table]:
    """Tasks with their heads and the kinds of networks of each, the networks of each kind, and the reasons."""
    made = _table("task", "head", "networks", "alone takes")
    for task, (own, model) in found.alone.items():
        by_head: dict[str, list[str]] = {}
        for kind in found.kinds:
            for head in found.heads(task, kind):
                by_head.setdefault(head, []).append(kind)
        for head, kinds in sorted(by_head.items(), key=lambda entry: entry[0] != own):
            made.add_row(task, head, " ".join(kinds), f"model={model}" if head == own else "")
    networks = _table("network", "model=")
    for kind, names in found.kinds.items():
        networks.add_row(kind, " ".join(names))
    reasons = _table("task", "head", "network", "why not")
    for (task, heads, kind), why in found.reasons().items():
        reasons.add_row(task, heads, kind, why)
    return [made, networks, reasons]


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # a name that is cut is no name
    return table
