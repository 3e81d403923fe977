"""Guards a run that asks for a key, goes online unasked, or takes an answer for silence."""

from pathlib import Path
from typing import Any

import pytest

from manyheads.errors import UserError
from manyheads.logger.wandb_account import choose_mode, trouble_in_time, trouble_reaching

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens, connections are refused


@pytest.fixture
def _no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.mark.usefixtures("_no_key")
def test_without_a_key_a_run_is_offline_and_asking_for_online_is_refused() -> None:
    """Guards against W&B's prompt for a key."""
    assert choose_mode(None) == "offline"
    with pytest.raises(UserError, match=r"^logger.wandb.mode=online: no W&B key was found. Run `wandb login`"):
        choose_mode("online")


@pytest.mark.usefixtures("_no_key")
def test_a_key_makes_a_run_online_unless_it_is_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against runs of people with an account that stay on disk, wherever their key is kept."""
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {'k' * 40}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert choose_mode(None) == "online"
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert choose_mode(None) == "online"
    assert choose_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert choose_mode(None) == "offline"
    assert choose_mode("disabled") == "disabled"
    with pytest.raises(UserError, match=r"^logger.wandb.mode=ofline is not one of .* Did you mean 'offline'"):
        choose_mode("ofline")  # type: ignore[arg-type]


def test_trouble_is_told_in_words_and_any_answer_is_none() -> None:
    """Guards against taking a server that answers 404 at its root for one that is away."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert trouble_reaching(f"http://127.0.0.1:{server.server_port}") is None
    assert trouble_reaching(NOWHERE) == f"{NOWHERE}: [Errno 111] Connection refused"


def test_what_went_wrong_is_said_and_nothing_when_all_is_well() -> None:
    def fail() -> None:
        raise ValueError("no\nsecond line")

    assert trouble_in_time(lambda: None, 10) is None
    assert trouble_in_time(fail, 10) == "ValueError: no"
