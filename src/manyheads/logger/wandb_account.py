"""Whether W&B is used online: which mode was asked for, whether there is a key, whether its server answers."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Literal, get_args

from manyheads.errors import UserError, check_choice

Mode = Literal["online", "offline", "disabled"]

PROBE_SECONDS = 5.0
"""How long the server may take to answer anything at all before the run goes offline."""

_FIRST_SERVER = "https://api.wandb.ai"


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


def trouble_in_time(call: Callable[[], None], seconds: float) -> str | None:
    """What went wrong with a call, in a few words, or that it did not return in time; None when all is well.

    A call that hangs is left behind in its thread, which does not keep the process alive.
    """
    caught: list[str] = []

    def attempt() -> None:
        try:
            call()
        except Exception as error:  # whatever W&B raises
            caught.append(first_line(error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return f"no answer in {seconds:g} seconds" if thread.is_alive() else next(iter(caught), None)


def first_line(error: BaseException) -> str:
    """What kind of error it is, and the first line of what it says."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
