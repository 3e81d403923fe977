"""Weights & Biases: one W&B run for one run folder, which never asks, never stops a training and tells nothing unasked."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from manyheads.errors import Interrupted, UserError, check_choice
from manyheads.logger.html import html_table
from manyheads.marks import builder

Mode = Literal["online", "offline", "disabled"]

_log = logging.getLogger(__name__)

PROBE_SECONDS = 5.0
"""How long the server may take to answer anything at all before the run goes offline."""

INIT_SECONDS = 20.0
"""How long the server may take to open the run before it goes offline."""

_FIRST_SERVER = "https://api.wandb.ai"

FINISH_SECONDS = 60.0
"""How long the end of a run may wait for what is not uploaded yet; it stays on disk."""


@builder
def wandb(
    *,
    folder: Path,
    name: str,
    config: Mapping[str, Any],
    tags: Sequence[str] = (),
    run_id: str | None = None,
    project: str | None = None,
    entity: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    notes: str | None = None,
    mode: Mode | None = None,
) -> Logger:
    """The logger of one run; its files are in `folder`/wandb.

    Args:
        folder: the run folder.
        name: the name that W&B shows.
        config: what W&B shows as the run's config; it is sent and written as it is.
        tags: what runs are filtered by.
        run_id: the id of an earlier W&B run to continue; None starts one.
        project: None takes $WANDB_PROJECT, or `manyheads`.
        entity: the user or team; None takes the account's default.
        group: runs of one group are shown together.
        job_type: a kind of run within a group.
        notes: a text shown with the run.
        mode: None is online where W&B finds a key and offline otherwise; $WANDB_MODE is heard.

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
    return WandbLog(folder=Path(folder), run_id=run_id, mode=choose_mode(mode), settings=settings)


def choose_mode(mode: Mode | None) -> Mode:
    """The mode asked for here or in $WANDB_MODE; else online with a key and offline without."""
    if mode is not None:
        check_choice("logger.wandb.mode", mode, get_args(Mode))
    wanted = mode or {"dryrun": "offline", "run": "online"}.get(wish := os.environ.get("WANDB_MODE", ""), wish)
    if wanted in ("offline", "disabled"):
        return wanted  # type: ignore[return-value]
    if has_key():
        return "online"
    if wanted == "online":
        raise UserError(
            "logger.wandb.mode=online: no W&B key was found. "
            "Run `wandb login`, set WANDB_API_KEY, or set logger.wandb.mode=offline."
        )
    return "offline"


def client_settings() -> Any:
    """W&B's settings for this process, read from its files and the environment; it starts W&B, silently."""
    # without this W&B reports on itself to its server from offline runs too, and complains where there is no network
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb as client

    return client.setup(client.Settings(silent=True)).settings


def has_key() -> bool:
    """Whether W&B would find credentials without asking: in the environment, in its settings or in .netrc."""
    import wandb as client
    from requests.utils import get_netrc_auth

    settings = client_settings()
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or settings.api_key:
        return True
    # a key stored under the first name of W&B's own server is still good
    public = [_FIRST_SERVER] if settings.base_url == client.Settings().base_url else []
    return any(get_netrc_auth(url) for url in (settings.base_url, *public))


def trouble_reaching(url: str, seconds: float = PROBE_SECONDS) -> str | None:
    """Why no HTTP server answers at `url`, in a few words, or None when one does, whatever it answers."""
    try:
        urllib.request.urlopen(url, timeout=seconds).close()  # through the proxies of the environment, as W&B does
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return f"{url}: {getattr(error, 'reason', None) or error}"
    return None


class WandbLog(WandbLogger):
    """Lightning's logger with a W&B run of its own, whatever else this process logs.

    W&B's `_step` is the optimizer step. Nothing of the command line, the environment, the repository or the console is
    recorded: only `config` and what is logged. `close` ends the run; Lightning ends it only when it failed, because
    testing follows training.
    """

    def __init__(self, *, folder: Path, run_id: str | None, mode: Mode, settings: Mapping[str, Any]) -> None:
        super().__init__(
            name=settings["name"],
            project=settings["project"],
            save_dir=str(folder),
            version=run_id or secrets.token_hex(4),
        )
        self._folder = folder
        self._resumed = run_id is not None
        self._mode: Mode = mode
        self._settings = dict(settings)
        self._closed = False
        self._warned = False
        self._last_step = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run; asking for it starts it."""
        if self._experiment is None:
            self._experiment = self._start()
        return self._experiment

    @property
    def url(self) -> str | None:
        """Where the run can be watched; None when it is not online or not started."""
        return getattr(self._experiment, "url", None) if self._mode == "online" else None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Logs at an optimizer step, by default the last one that was logged. Never raises."""
        self._last_step = self._last_step if step is None else step
        self._guarded(lambda: self.experiment.log(dict(metrics), step=self._last_step))

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
        """Logs rows of text as a page of HTML. Never raises.

        Not as a W&B Table: for each one of those the client asks the server, and waits for ever where it went away.
        """
        import wandb as client

        if data:
            self.log_metrics({key: client.Html(html_table(columns or [], data), inject=False)}, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends the run as failed when `status` says so and it was not told to stop; Lightning calls it after each of fit
        and test, and while it handles what was raised."""
        if status == "failed":
            self.close(failed=not isinstance(sys.exc_info()[1], Interrupted))

    @rank_zero_only
    def close(self, *, failed: bool = False) -> None:
        """Ends the W&B run. A second call does nothing. Never raises, and waits at most FINISH_SECONDS."""
        run, closed, self._closed = self._experiment, self._closed, True
        if closed or run is None:
            return
        try:
            run.finish(exit_code=int(failed))
            trouble = self._refusal()
            for link in self._files("logs/debug-core.log"):
                link.unlink()  # it leads out of the folder, to a path of this machine
        except Exception as error:  # whatever W&B raises: the results are safe and the run is over
            trouble = _first_line(error)
        if trouble:
            _log.warning("W&B did not take everything (%s). Later: %s", trouble, self._sync_command())

    def _start(self) -> Any:
        if self._mode == "online":
            trouble = trouble_reaching(client_settings().base_url)
            try:
                if trouble is None:
                    return self._init("online")
            except Exception as error:  # W&B has many kinds: no such entity, key refused, timed out
                trouble = _first_line(error)
            self._mode = "offline"
            for left in (self._folder / "wandb").glob(f"run-*-{self._id}"):
                shutil.rmtree(left, ignore_errors=True)
            self._id = secrets.token_hex(4)  # W&B keeps the id of a run that it could not open
            _log.warning("W&B is out of reach (%s); logging offline. Later: %s", trouble, self._sync_command())
        try:
            return self._init(self._mode)
        except Exception as error:
            _log.warning("W&B cannot log this run (%s).", _first_line(error))
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

    def _refusal(self) -> str | None:
        """What made W&B stop uploading for good; it tells only its own log."""
        for log in self._files("logs/debug-internal.log") if self._mode == "online" else ():
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                if "fatal error" in line:
                    return line.rpartition('"msg":"')[2].rstrip('"}').partition(" url=")[0]
        return None

    def _guarded(self, call: Callable[[], None]) -> None:
        if self._closed:
            return
        try:
            call()
        except Exception as error:  # whatever W&B raises: the training is worth more than its log
            if not self._warned:
                _log.warning("W&B failed (%s); the training goes on without it where it must.", _first_line(error))
            self._warned = True

    def _sync_command(self) -> str:
        prefix = "offline-run" if self._mode == "offline" else "run"
        return f"wandb sync {shlex.quote(str(self._folder / 'wandb'))}/{prefix}-*-{self._id}"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
