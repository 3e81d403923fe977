"""What Hydra calls with each config that it has composed, and what is checked then."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from manyheads.errors import Interrupted, UserError, explain
from manyheads.run.base import OF_RUN, Base
from manyheads.run.hydra_errors import translate
from manyheads.run.secrets import mask_said
from manyheads.run.sweep_results import Trial

Task = Callable[[DictConfig, Path | None, dict[str, str]], Any]
"""What runs with a composed config: (config, the folder that a sweep gave this run or None, choice of each group)."""

FULL_ERROR = "HYDRA_FULL_ERROR"
_HYDRAS_LINE = "Error executing job with overrides"


SEVERAL = {
    "task": " Several tasks in one run are task=mixture, see conf/task/mixture.yaml.",
    "data": " Several sources in one run are data=mixture, see conf/data/mixture.yaml.",
}
"""How several choices of a group are said."""


def check_single(config: DictConfig, words: Sequence[str]) -> None:
    """Raises UserError for several choices of a group that names one thing: Hydra would mix them, the last one winning."""
    for word in words:
        group, _, value = word.lstrip("+").partition("=")
        node = config.get(group) if value.startswith("[") else None
        if isinstance(node, DictConfig) and "_target_" in node:
            raise UserError(
                f"{word}: these would be mixed into one {group}. Set one, or use -m to run with each.{SEVERAL.get(group, '')}"
            )


def check_complete(config: DictConfig) -> None:
    """Raises for a key that is still `???` and for a reference that leads nowhere."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(" ".join(f"{key} is not set: add {key}=VALUE." for key in missing[:3]))
    OmegaConf.to_container(config, resolve=True)


def merged(choices: Mapping[Any, Any], base: Base | None, start: Base | None = None) -> dict[str, str]:
    """The choice of each group, Hydra's own groups left out; where none was made, that of the run that was composed over,
    or whose network it is."""
    own = {
        str(group): str(choice)
        for group, choice in choices.items()
        if not str(group).startswith("hydra") and choice != OF_RUN
    }
    taken = {"model": start.choices.get("model", "custom")} if start else {}
    return (base.choices if base else taken) | own


class Leave(BaseException):
    """Carries an interruption past Hydra, which would go on with the next run of a sweep."""

    def __init__(self, error: Interrupted) -> None:
        super().__init__(str(error))
        self.error = error


class Job:
    """The function that Hydra calls, once or for each run of a sweep."""

    def __init__(self, verb: str, task: Task, base: Base | None, start: Base | None, *, sweep: bool) -> None:
        self.verb, self.task, self.base, self.start, self.sweep = verb, task, base, start, sweep
        self.count = 0
        self.failures: list[str] = []
        self.trials: list[Trial] = []
        self.error: Exception | None = None
        self._outside: dict[str, Any] = {}
        self.__module__ = f"manyheads.{verb}"  # what Hydra calls the job

    def __call__(self, config: DictConfig) -> Any:
        with self._outside_hydra():
            self.count += 1
            try:
                return self._run(config)
            except Interrupted as interrupted:
                raise Leave(interrupted) from None
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
            assert folder is not None
            self.trials.append(Trial(tuple(_written(hydra)), folder))
            sys.stdout.write(f"\nRun {hydra.job.num} of the sweep: {' '.join(_written(hydra))}\n")
        try:
            check_single(config, _written(hydra))
            check_complete(config)
        except Exception as error:
            raise translate(error, (), None) or error from error
        return self.task(config, folder, merged(hydra.runtime.choices, self.base, self.start))

    def _tell(self, error: Exception) -> None:
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        self.failures.append(f"  {hydra.job.num}: {' '.join(_written(hydra))}")
        text = explain(error).text
        sys.stderr.write(mask_said(f"error: {text}\n" if text else "".join(traceback.format_exception(error))))

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


def _written(hydra: Any) -> list[str]:
    """The overrides of a run as they were written: references to the environment stay what they are."""
    words = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(words, list)
    return [mask_said(str(word)) for word in words]


class _WithoutHydrasLine:
    """stderr without the line that Hydra writes before it raises what a run raised."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if text.startswith(_HYDRAS_LINE) else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
