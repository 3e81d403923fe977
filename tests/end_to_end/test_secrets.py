"""Guards against a secret in any file of a run or on the screen: planted in each place where people put them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import manyheads
from manyheads.run.folder import read_config

ROOT = Path(__file__).parents[2]


def leaks(folder: Path, secret: str) -> list[str]:
    """The files below a folder that hold the secret, as it is or as JSON or a URL would write it."""
    forms = {secret.encode(), json.dumps(secret)[1:-1].encode()}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [str(path) for path in files if any(form in path.read_bytes() for form in forms)]


@pytest.fixture
def behind_a_key(corpus: Path, tmp_path: Path) -> str:
    """A path that is a URL with a password in it, and leads to the corpus."""
    url = "https://reader:hunter2hunter2@data.example/corpus"
    shutil.copytree(corpus, tmp_path / Path(url))
    return url


@pytest.fixture
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    yield
    for name in [name for name in os.environ if name.startswith("MANYHEADS_SECRET_")]:
        del os.environ[name]


@pytest.mark.usefixtures("_clean_environment")
@pytest.mark.parametrize(
    "logger", ["csv", *(pytest.param(each, marks=pytest.mark.slow) for each in ("wandb", "[tensorboard,mlflow]"))]
)
def test_no_literal_secret_of_the_command_line_is_written_or_shown(
    logger: str, behind_a_key: str, cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    """In a URL that is used, in further keys of any name, in a list; in every file, W&B's included, and on the screen."""
    words = [
        *tiny,
        f"logger={logger}",
        f"data.path={behind_a_key}",
        "+my_token=plain-tokentoken",
        "+service.api_key='quoted keykey'",
        "+service.url=https://host/x?access_key=querykeyquery",
        "+service.other='https://useronlytoken@host/x?X-Amz-Signature=signedsigned&client_secret=clientclient'",
        "+service.pwd=shortpwdpwd",
        "+service.passphrase='four words in a row'",
        "+service.authorization='Basic YmFzaWM6YmFzaWM'",
        "+service.cookie=cookiecookie",
        "+service.tokens=[listedtoken,othertoken]",
        "+service.prompt_tokens=12",
        "+service.list=[{password: nestedpassword}]",
        "+copy='Bearer ${my_token}'",
        "+name_of.WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567",
    ]
    secrets = ["hunter2hunter2", "plain-tokentoken", "quoted keykey", "querykeyquery", "nestedpassword",
               "useronlytoken", "signedsigned", "clientclient", "shortpwdpwd", "four words in a row", "YmFzaWM6YmFzaWM",
               "cookiecookie", "listedtoken", "othertoken", "0123456789abcdef0123456789abcdef01234567"]  # fmt: skip
    done = cli("train", *words)
    assert done.code == 0, done.err
    assert len(list(done.folder.glob("wandb/*/*.wandb"))) == (logger == "wandb")
    for secret in secrets:
        assert leaks(tmp_path / "outputs", secret) == []
        assert secret not in done.out + done.err
    # what is left in their place still works here, and asks for the variable elsewhere
    config, _ = read_config(type("Folder", (), {"config": done.folder / "config.yaml"})())
    assert config.data.path == behind_a_key
    assert (config.service.prompt_tokens, list(config.service.tokens)) == (12, ["listedtoken", "othertoken"])
    assert cli("eval", f"run={done.folder}").code == 0
    assert manyheads.load(done.folder).config.my_token == "plain-tokentoken"
    for name in [name for name in os.environ if name.startswith("MANYHEADS_SECRET_")]:
        del os.environ[name]
    again = cli("eval", f"run={done.folder}")
    assert again.code == 1
    assert "MANYHEADS_SECRET_" in again.err


@pytest.mark.slow
@pytest.mark.usefixtures("_clean_environment")
def test_a_secret_of_the_environment_stays_a_reference(
    behind_a_key: str, cli: Callable[..., Any], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_DATA", behind_a_key)
    monkeypatch.setenv("MY_TOKEN", "environmenttoken")
    words = ["data.path=${oc.env:MY_DATA}", "+my_token=${oc.env:MY_TOKEN}", "+header='Bearer ${oc.env:MY_TOKEN}'"]
    done = cli("train", *tiny, "logger=wandb", *words)
    assert done.code == 0, done.err
    for secret in ("hunter2hunter2", "environmenttoken"):
        assert leaks(tmp_path / "outputs", secret) == []
        assert secret not in done.out + done.err
    text = (done.folder / "config.yaml").read_text(encoding="utf-8")
    assert "path: ${oc.env:MY_DATA}" in text
    assert "my_token: ${oc.env:MY_TOKEN}" in text


@pytest.mark.usefixtures("_clean_environment")
@pytest.mark.parametrize(
    ("word", "secret"),
    [
        ("+logger.wandb.api_key=refusedkeykey", "refusedkeykey"),
        ("+data.token=refusedtoken", "refusedtoken"),
        ("data.pwd=refusedword", "refusedword"),
        ("data.path=https://useronlytoken@data.example/nowhere?x-api-key=querykeyquery", "useronlytoken"),
        ("data.path='https://data.example/nowhere?x-api-key=querykeyquery'", "querykeyquery"),
        ("data.path=https://reader:hunter2hunter2@data.example/nowhere", "hunter2hunter2"),
        ("+optim={password: refusedword", "refusedword"),
        ("nogroup.token=refusedtoken", "refusedtoken"),
    ],
)
def test_an_error_does_not_tell_a_secret(
    word: str, secret: str, cli: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    """What is refused is told by its key; its value is not repeated."""
    done = cli("train", *tiny, "logger=wandb", word)
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert secret not in done.out + done.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.slow
def test_no_secret_in_what_a_real_process_leaves_and_says(behind_a_key: str, tiny: list[str], tmp_path: Path) -> None:
    """The command line as W&B and Lightning see it, in a sweep of two, one of which fails."""
    words = [
        *tiny,
        "logger=wandb",
        f"data.path='{behind_a_key}'",
        "+my_token=plain-tokentoken",
        "trainer.max_steps=2,-7",
    ]
    environment = {**os.environ, "SOME_TOKEN": "environmenttoken"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "-m", *words, "+other_token='${oc.env:SOME_TOKEN}'"],
        cwd=tmp_path, env=environment, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "1 of 2 runs of the sweep failed" in done.stderr
    assert list(tmp_path.glob("outputs/sweeps/*/0/wandb/*/*.wandb")), done.stderr
    for secret in ("hunter2hunter2", "plain-tokentoken", "environmenttoken"):
        assert leaks(tmp_path / "outputs", secret) == []
        assert secret not in done.stdout + done.stderr
