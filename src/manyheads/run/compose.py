"""The front door's way into Hydra: its own machinery, without its folders, its log and its way of failing."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from omegaconf import DictConfig

from manyheads.errors import UserError
from manyheads.run.base import Base, start_of
from manyheads.run.composer import Composer, unknown_key
from manyheads.run.hydra_errors import translate
from manyheads.run.job import Job, Leave, Task, check_complete, check_single, merged
from manyheads.run.secrets import hide_in_argv
from manyheads.run.sweep_results import tell_sweep


class Composed(NamedTuple):
    """A config and the choice that each group was."""

    config: DictConfig
    choices: dict[str, str]


def compose(
    verb: str, overrides: Sequence[str], conf_dir: Path, base: Base | None = None, config_dir: str | None = None
) -> Composed:
    """The config that a command line gives, without running anything. Raises UserError."""
    if isinstance(overrides, str) or not all(isinstance(word, str) for word in overrides):
        raise UserError(f"overrides={overrides}: set a list of texts, such as ['optim.lr=0.01'].")
    words = hide_in_argv(list(overrides))
    composer = Composer(verb, conf_dir, config_dir=config_dir, base=base, start=_start(verb, words))
    try:
        config = _compose(composer, words)
        choices = merged(config.hydra.runtime.choices, base, composer.start)
        with _open(config):
            del config["hydra"]
        check_single(config, words)
        check_complete(config)
    except Exception as error:
        found = translate(error, words, composer)
        if found is None:
            raise
        raise found from error
    return Composed(config, choices)


def _start(verb: str, words: Sequence[str]) -> Base | None:
    return start_of(words) if verb == "train" else None


def _compose(composer: Composer, words: list[str]) -> DictConfig:
    try:
        return composer.compose(words)
    except Exception as error:
        if unknown_key(error) is None:
            raise
    return composer.compose(composer.settle(words, sweep=False))


def hydra_main(verb: str, argv: Sequence[str], conf_dir: Path, task: Task, base: Base | None = None) -> None:
    """Composes `conf_dir/<verb>.yaml` with a command line in the way of @hydra.main and calls `task` with the result.

    `base`, the config of a run, takes the place of the yaml: any override composes over it. All of Hydra's flags work.
    Raises UserError for a mistake in the command line or in a yaml, and whatever `task` raises.
    """
    args, parser = parse_flags(verb, argv)
    words = hide_in_argv(args.overrides)
    start = _start(verb, words)
    composer = Composer(
        verb, conf_dir, config_dir=args.config_dir, config_name=args.config_name, base=base, start=start
    )
    job = Job(verb, task, base, start, sweep=bool(args.multirun))
    try:
        with _quiet():
            _run(args, parser, job, composer, words)
    except Leave as leave:
        tell_sweep(job.trials)
        raise leave.error from leave.error.__cause__
    except Exception as error:
        tell_sweep(job.trials)
        _raise(error, job, words, composer)
    tell_sweep(job.trials)


def parse_flags(verb: str, argv: Sequence[str]) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """Hydra's own flags and the overrides between them. Raises UserError for a flag that there is not."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    flags = [flag for action in parser._actions for flag in action.option_strings]

    def fail(message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized arguments") and unknown:
            flag = unknown[0].partition("=")[0]
            raise UserError(
                f"{unknown[0]}: {verb} has no flag {flag}.{_near_flag(flag, flags)} "
                f"Settings are written KEY=VALUE, such as optim.lr=0.01; `{verb} --help` lists them."
            )
        raise UserError(f"{verb}: {message}. `{verb} --help` shows how it is called.")

    parser.error = fail  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(list(argv))
    if args.config_path is not None:
        raise UserError(
            "--config-path: the config tree is part of manyheads. Add a folder to it with --config-dir DIR."
        )
    modes = [f"--{name}" for name in ("run", "multirun", "cfg", "info") if getattr(args, name)]
    if len(modes) > 1:
        raise UserError(f"{' and '.join(modes)} do not go together: leave all but one of them out.")
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun would load a pickle, which can run code. Use eval run=FOLDER instead.")
    return args, parser


def _near_flag(flag: str, flags: list[str]) -> str:
    close = difflib.get_close_matches(flag, [name for name in flags if name.startswith("--")], n=1, cutoff=0.75)
    return f" Did you mean {close[0]}?" if close else ""


def _run(
    args: argparse.Namespace, parser: argparse.ArgumentParser, job: Job, composer: Composer, words: list[str]
) -> None:
    """Calls Hydra with settled overrides. Settling costs a composition, which only a sweep needs in every case: Hydra
    makes a sweep's folder before it has composed its runs."""
    if not job.sweep:
        try:
            return _call_hydra(args, parser, job, composer, words)
        except Exception as error:
            if job.count or unknown_key(error) is None:
                raise
    _call_hydra(args, parser, job, composer, composer.settle(words, sweep=job.sweep))


def _call_hydra(
    args: argparse.Namespace, parser: argparse.ArgumentParser, job: Job, composer: Composer, words: list[str]
) -> None:
    from hydra._internal.utils import _run_hydra

    with job.within_hydra(), composer.registered(words) as args.overrides:
        # what hydra.main calls once it has parsed sys.argv, which stays as it is: Lightning starts further ranks with it
        args.config_name = None
        _run_hydra(args, parser, job, str(composer.conf_dir), composer.config_name)


def _raise(error: Exception, job: Job, words: Sequence[str], composer: Composer) -> NoReturn:
    if job.failures:
        raise UserError(
            f"{len(job.failures)} of {job.count} runs of the sweep failed:\n" + "\n".join(job.failures)
        ) from error
    if error is job.error:
        raise error
    found = translate(error, words, composer)
    if found is None:
        raise error
    raise found from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # a folder of hydra.searchpath that is not there is a mistake, not a remark
        warnings.filterwarnings("error", message=r"provider=.* is not\s+available", category=UserWarning)
        yield


@contextlib.contextmanager
def _open(config: DictConfig) -> Iterator[None]:
    from omegaconf import open_dict, read_write

    with read_write(config), open_dict(config):
        yield
