"""The front door's way into Hydra: its own machinery, without its folders, its log and its way of failing."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from omegaconf import DictConfig, OmegaConf

from manyheads.errors import Interrupted, UserError, explain
from manyheads.run.composer import Base, Composer, unknown_key
from manyheads.run.hydra_errors import translate
from manyheads.run.secrets import hide_in_argv

Task = Callable[[DictConfig, Path | None, dict[str, str]], Any]
"""What runs with a composed config: (config, the folder that a sweep gave this run or None, choice of each group)."""

FULL_ERROR = "HYDRA_FULL_ERROR"
_HYDRAS_LINE = "Error executing job with overrides"


class Composed(NamedTuple):
    """A config and the choice that each group was."""

    config: DictConfig
    choices: dict[str, str]


def compose(verb: str, overrides: Sequence[str], conf_dir: Path, base: Base | None = None) -> Composed:
    """The config that a command line gives, without running anything. Raises UserError."""
    composer = Composer(verb, conf_dir, base=base)
    words = hide_in_argv(list(overrides))
    try:
        config = _compose(composer, words)
        choices = _choices(config, base)
        with _open(config):
            del config["hydra"]
        check_complete(config)
    except Exception as error:
        found = translate(error, words, composer)
        if found is None:
            raise
        raise found from error
    return Composed(config, choices)


def _compose(composer: Composer, words: list[str]) -> DictConfig:
    try:
        return composer.compose(words)
    except Exception as error:
        if unknown_key(error) is None:
            raise
    return composer.compose(composer.settle(words, sweep=False))


def compose_over(run_config: DictConfig, overrides: Sequence[str], conf_dir: Path, verb: str = "train") -> DictConfig:
    """A run's resolved config with overrides composed over it, as `compose` would. Raises UserError."""
    return compose(verb, overrides, conf_dir, Base(run_config, {})).config


def hydra_main(verb: str, argv: Sequence[str], conf_dir: Path, task: Task, base: Base | None = None) -> None:
    """Composes `conf_dir/<verb>.yaml` with a command line in the way of @hydra.main and calls `task` with the result.

    `base`, the config of a run, takes the place of the yaml: any override composes over it. All of Hydra's flags work.
    Raises UserError for a mistake in the command line or in a yaml, and whatever `task` raises.
    """
    args, parser = parse_flags(verb, argv)
    composer = Composer(verb, conf_dir, config_dir=args.config_dir, config_name=args.config_name, base=base)
    words = hide_in_argv(args.overrides)
    job = _Job(verb, task, base, sweep=bool(args.multirun))
    try:
        with _quiet():
            _run(args, parser, job, composer, words)
    except _Leave as leave:
        raise leave.error from leave.error.__cause__
    except Exception as error:
        _raise(error, job, words, composer)


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
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun would load a pickle, which can run code. Use eval run=FOLDER instead.")
    return args, parser


def _near_flag(flag: str, flags: list[str]) -> str:
    close = difflib.get_close_matches(flag, [name for name in flags if name.startswith("--")], n=1, cutoff=0.75)
    return f" Did you mean {close[0]}?" if close else ""


def check_complete(config: DictConfig) -> None:
    """Raises for a key that is still `???` and for a reference that leads nowhere."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(" ".join(f"{key} is not set: add {key}=VALUE." for key in missing[:3]))
    OmegaConf.to_container(config, resolve=True)


class _Leave(BaseException):
    """Carries an interruption past Hydra, which would go on with the next run of a sweep."""

    def __init__(self, error: Interrupted) -> None:
        super().__init__(str(error))
        self.error = error


class _Job:
    """The function that Hydra calls, once or for each run of a sweep."""

    def __init__(self, verb: str, task: Task, base: Base | None, *, sweep: bool) -> None:
        self.verb, self.task, self.base, self.sweep = verb, task, base, sweep
        self.count = 0
        self.failures: list[str] = []
        self.error: Exception | None = None
        self._outside: dict[str, Any] = {}
        self.__module__ = f"manyheads.{verb}"  # what Hydra calls the job

    def __call__(self, config: DictConfig) -> Any:
        with self._outside_hydra():
            self.count += 1
            try:
                return self._run(config)
            except Interrupted as interrupted:
                raise _Leave(interrupted) from None
            except Exception as error:
                self.error = self.error or error
                if self.sweep:
                    self._tell(error)
                raise

    def _run(self, config: DictConfig) -> Any:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra = HydraConfig.get()
        self.sweep = hydra.mode == RunMode.MULTIRUN
        folder = Path(hydra.runtime.output_dir) if self.sweep else None
        if self.sweep:
            sys.stdout.write(f"\nRun {hydra.job.num} of the sweep: {' '.join(hydra.overrides.task)}\n")
        try:
            check_complete(config)
        except Exception as error:
            raise translate(error, (), None) or error from error
        choices = {str(group): str(choice) for group, choice in hydra.runtime.choices.items()}
        return self.task(config, folder, _merged(choices, self.base))

    def _tell(self, error: Exception) -> None:
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        self.failures.append(f"  {hydra.job.num}: {' '.join(hydra.overrides.task)}")
        text = explain(error).text
        sys.stderr.write(f"error: {text}\n" if text else "".join(traceback.format_exception(error)))

    @contextlib.contextmanager
    def within_hydra(self) -> Iterator[None]:
        """Hydra raises what it would otherwise print, and does not print what is raised again."""
        self._outside = {"stderr": sys.stderr, "full": os.environ.get(FULL_ERROR)}
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextlib.contextmanager
    def _outside_hydra(self) -> Iterator[None]:
        """Within the task the environment is the user's own, so that child processes inherit nothing of ours."""
        self._leave()
        try:
            yield
        finally:
            self._enter()

    def _enter(self) -> None:
        os.environ[FULL_ERROR] = "1"
        sys.stderr = _WithoutHydrasLine(self._outside["stderr"])

    def _leave(self) -> None:
        sys.stderr = self._outside["stderr"]
        if self._outside["full"] is None:
            os.environ.pop(FULL_ERROR, None)
        else:
            os.environ[FULL_ERROR] = self._outside["full"]


class _WithoutHydrasLine:
    """stderr without the line that Hydra writes before it raises what a run raised."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if text.startswith(_HYDRAS_LINE) else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _run(
    args: argparse.Namespace, parser: argparse.ArgumentParser, job: _Job, composer: Composer, words: list[str]
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
    args: argparse.Namespace, parser: argparse.ArgumentParser, job: _Job, composer: Composer, words: list[str]
) -> None:
    from hydra._internal.utils import _run_hydra

    with job.within_hydra(), composer.registered(words) as args.overrides:
        # what hydra.main calls once it has parsed sys.argv, which stays as it is: Lightning starts further ranks with it
        args.config_name = None
        _run_hydra(args, parser, job, str(composer.conf_dir), composer.config_name)


def _raise(error: Exception, job: _Job, words: Sequence[str], composer: Composer) -> NoReturn:
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


def _choices(config: DictConfig, base: Base | None) -> dict[str, str]:
    found = config.hydra.runtime.choices
    return _merged({str(group): str(choice) for group, choice in found.items()}, base)


def _merged(choices: dict[str, str], base: Base | None) -> dict[str, str]:
    own = {group: choice for group, choice in choices.items() if not group.startswith("hydra")}
    return (base.choices if base else {}) | own
