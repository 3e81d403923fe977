"""Weights & Biases: one W&B run for one run folder, which never asks, never stops a training and tells nothing unasked."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from manyheads.errors import Interrupted
from manyheads.logger import wandb_account as account
from manyheads.logger.base import RunLogger
from manyheads.logger.html import html_table
from manyheads.logger.wandb_account import Mode, choose_mode, client_settings, first_line
from manyheads.logger.wandb_files import Known, lacking, names_in_files, refusal
from manyheads.marks import builder
from manyheads.run.results import Status

_log = logging.getLogger(__name__)

INIT_SECONDS = 20.0
"""How long the server may take to open the run before it goes offline."""

TABLE_SECONDS = 20.0
"""How long W&B may take to accept a Table."""

FINISH_SECONDS = 60.0
"""How long the end of a run may wait for what is not uploaded yet; it stays on disk."""


@builder
def wandb(
    *,
    folder: Path,
    name: str,
    config: Mapping[str, Any],
    tags: Sequence[str] = (),
    wandb_id: str | None = None,
    history: Iterable[Mapping[str, float]] = (),
    project: str | None = None,
    entity: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    notes: str | None = None,
    mode: Mode | None = None,
    tables: bool = False,
) -> Logger:
    """The logger of one run; its files are in `folder`/wandb.

    Args:
        folder: the run folder.
        name: the name that W&B shows.
        config: what W&B shows as the run's config; it is sent and written as it is.
        tags: what runs are filtered by.
        wandb_id: the id of an earlier W&B run to continue; None starts one.
        history: the rows that a resumed run had logged, each with a `step`; what W&B lacks of them is sent.
        project: None takes $WANDB_PROJECT, or `manyheads`.
        entity: the user or team; None takes the account's default.
        group: runs of one group are shown together.
        job_type: a kind of run within a group.
        notes: a text shown with the run.
        mode: None is online where W&B finds a key and offline otherwise; $WANDB_MODE is heard.
        tables: sample texts as W&B Tables, which can be sorted and filtered, and not as pages.

    Raises UserError for `mode=online` without a key.
    """
    settings = {
        "name": name,
        "project": project or os.environ.get("WANDB_PROJECT") or "manyheads",
        "entity": entity,
        "group": group,
        "job_type": job_type,
        "notes": notes,
        "tags": list(tags),
        "config": dict(config),
    }
    return WandbLog(
        folder=Path(folder),
        wandb_id=wandb_id,
        mode=choose_mode(mode),
        settings=settings,
        tables=tables,
        history=history,
    )


class WandbLog(WandbLogger, RunLogger):
    """Lightning's logger with a W&B run of its own, whatever else this process logs.

    W&B's `_step` is the optimizer step. Nothing of the command line, the environment, the repository or the console is
    recorded: only `config` and what is logged. `close` ends the run; Lightning ends it only when it failed, because
    testing follows training.

    W&B cannot take back a number. A run that resumes from before the last step that W&B has makes those steps again, with
    the same numbers, and sends only what W&B lacks; what it lacks of the steps before comes from `history`. Texts that
    W&B had not written when its process was killed are lost to it.
    """

    id_name = "wandb_id"

    def __init__(
        self,
        *,
        folder: Path,
        wandb_id: str | None,
        mode: Mode,
        settings: Mapping[str, Any],
        tables: bool = False,
        history: Iterable[Mapping[str, float]] = (),
    ) -> None:
        super().__init__(
            name=settings["name"],
            project=settings["project"],
            save_dir=str(folder),
            version=wandb_id or secrets.token_hex(4),
        )
        self._folder = folder
        self._resumed = wandb_id is not None
        self._mode: Mode = mode
        self._settings = dict(settings)
        self._tables = tables
        self._history = list(history)
        self._known: Known = {}
        self._closed = False
        self._warned = False
        self._last_step = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run; asking for it starts it."""
        if self._experiment is None:
            self._experiment = self._start()
            for row in self._history:
                self._send({name: value for name, value in row.items() if name != "step"}, int(row["step"]))
        return self._experiment

    @property
    def url(self) -> str | None:
        """Where the run can be watched; None when it is not online or not started."""
        return getattr(self._experiment, "url", None) if self._mode == "online" else None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Logs at an optimizer step, by default the last one that was logged. Never raises."""
        self._last_step = self._last_step if step is None else step
        self._guarded(lambda: self._send(metrics, self._last_step))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Adds to the run's config. Never raises."""
        self._guarded(lambda: super(WandbLog, self).log_hyperparams(params))

    @rank_zero_only
    def log_text(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[str]] | None = None,
        dataframe: Any | None = None,
        step: int | None = None,
    ) -> None:
        """Logs rows of text as a page of HTML, or as a Table where those are asked for. Never raises, never hangs.

        For each Table the client asks the server, and waits for ever where it went away.
        """
        import wandb as client

        if not data or self._closed:
            return
        if not self._log_table(key, columns or [], data, step):
            self.log_metrics({key: client.Html(html_table(columns or [], data), inject=False)}, step)

    @rank_zero_only
    def log_page(self, key: str, path: Path, step: int | None = None) -> None:
        """Logs a page of HTML. Never raises."""
        import wandb as client

        if not self._closed:
            self.log_metrics({key: client.Html(path.read_text(encoding="utf-8"), inject=False)}, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends the run as failed when `status` says so and it was not told to stop; Lightning calls it after each of fit
        and test, and while it handles what was raised."""
        if status == "failed":
            self.close("interrupted" if isinstance(sys.exc_info()[1], Interrupted) else "failed")

    @rank_zero_only
    def close(self, status: Status = "done") -> None:
        """Ends the W&B run, as failed when it did. A second call does nothing. Never raises, and waits at most FINISH_SECONDS."""
        run, closed, self._closed = self._experiment, self._closed, True
        if closed or run is None:
            return
        try:
            run.finish(exit_code=int(status == "failed"))
            trouble = refusal(self._files("logs/debug-internal.log")) if self._mode == "online" else None
            for link in self._files("logs/debug-core.log"):
                link.unlink()  # it leads out of the folder, to a path of this machine
        except Exception as error:  # whatever W&B raises: the results are safe and the run is over
            trouble = first_line(error)
        if trouble:
            _log.warning("W&B did not take everything (%s). Later: %s", trouble, self._sync_command())

    def _send(self, row: Mapping[str, Any], step: int) -> None:
        run = self.experiment  # asked for first: at its start it finds out what W&B has
        if new := lacking(self._known, step, row):
            run.log(new, step=step)

    def _log_table(self, key: str, columns: list[str], data: list[list[str]], step: int | None) -> bool:
        """Whether the rows were logged as a Table; after the first that W&B does not take in time there are no more."""
        import wandb as client

        if not self._tables or self.experiment is None:  # asking for it starts it, and it may turn out to be offline
            return False
        trouble = account.trouble_reaching(client_settings().base_url) if self._mode == "online" else None
        if trouble is None:
            self._last_step = self._last_step if step is None else step
            table = client.Table(columns=list(columns), data=[list(row) for row in data])
            trouble = account.trouble_in_time(lambda: self._send({key: table}, self._last_step), TABLE_SECONDS)
        if trouble is not None:
            self._tables = False
            _log.warning("W&B takes no Table (%s); sample texts are logged as pages from here on.", trouble)
        return trouble is None

    def _start(self) -> Any:
        if self._mode == "online":
            trouble = account.trouble_reaching(client_settings().base_url)
            try:
                if trouble is None:
                    return self._init("online")
            except Exception as error:  # W&B has many kinds: no such entity, key refused, timed out
                trouble = first_line(error)
            self._mode = "offline"
            for left in (self._folder / "wandb").glob(f"run-*-{self._id}"):
                shutil.rmtree(left, ignore_errors=True)
            self._id = secrets.token_hex(4)  # W&B keeps the id of a run that it could not open
            _log.warning("W&B is out of reach (%s); logging offline. Later: %s", trouble, self._sync_command())
        try:
            if self._mode == "offline":  # online, W&B itself takes no step again that its server has
                self._known = names_in_files(self._files("*.wandb"))
            return self._init(self._mode)
        except Exception as error:
            _log.warning("W&B cannot log this run (%s).", first_line(error))
            return self._init("disabled")

    def _init(self, mode: Mode) -> Any:
        client_settings()
        import wandb as client

        return client.init(
            **self._settings,
            id=self._id,
            dir=str(self._folder),
            mode=mode,
            resume="allow" if self._resumed and mode == "online" else None,
            reinit="create_new",
            settings=client.Settings(
                console="off",
                silent=True,
                symlink=False,  # it would hold this machine's path
                use_dot_wandb=False,
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_disable_meta=True,  # holds the command line
                x_save_requirements=False,
                login_timeout=1.0,  # a prompt, where W&B does not find the key that was found here
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )

    def _files(self, name: str) -> list[Path]:
        return list((self._folder / "wandb").glob(f"*run-*-{self._id}/{name}"))

    def _guarded(self, call: Callable[[], None]) -> None:
        if self._closed:
            return
        try:
            call()
        except Exception as error:  # whatever W&B raises: the training is worth more than its log
            if not self._warned:
                _log.warning("W&B failed (%s); the training goes on without it where it must.", first_line(error))
            self._warned = True

    def _sync_command(self) -> str:
        prefix = "offline-run" if self._mode == "offline" else "run"
        return f"wandb sync {shlex.quote(str(self._folder / 'wandb'))}/{prefix}-*-{self._id}"
