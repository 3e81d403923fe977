"""Guards: a token, a password or a key in a URL that ends up in a file or on a screen."""

import os

import pytest
from omegaconf import OmegaConf

from manyheads.run import secrets


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MANYHEADS_SECRET_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("data.token", "hf_abc", True),
        ("logger.wandb.api_key", "abc", True),
        ("logger.db_password", "x", True),
        ("data.path", "https://me:pw@host/x.csv", True),
        ("data.path", "https://host/x.csv?token=abc", True),
        *((f"service.{name}", "x1y2", True) for name in
          ("pwd", "pass", "passphrase", "auth", "authorization", "bearer", "cookie", "tokens", "passwords", "DB_PASS")),
        ("service.tokens.0", "x1y2", True),
        *(("data.path", f"https://host/x.csv?y=1&{name}=abc", True) for name in
          ("access_token", "key", "api-key", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential",
           "client_secret", "hf_token", "auth", "sig")),
        ("data.path", "https://abcdef@host/x.csv", True),
        ("data.path", "https:/abcdef@host/x.csv", True),
        ("data.path", "https://me:p@w@host/x.csv", True),
        ("data.path", "https://host/x@y.csv?key_count=3&author=me&page=2", False),
        ("data.path", "https://host/?mail=me@host", False),
        ("data.path", "C:/me@home/x.csv", False),
        ("service.prompt_tokens", "12", False),
        ("service.prompt_tokens", "1_000,2e3", False),
        ("service.prompt_tokens", 12, False),
        ("trainer.max_tokens", "choice(1,2)", False),
        ("trainer.max_tokens", "many", False),
        ("model.bypass", "yes", False),
        ("trainer.max_tokens", "1000", False),
        ("model.experts_per_token", "2", False),
        ("task.mask_token", "[MASK]", False),
        ("tokenizer.path", "tokenizer.json", False),
        ("data.path", "https://host/x.csv", False),
        ("data.token", "${oc.env:HF_TOKEN}", False),
        ("data.token", None, False),
    ],
)  # fmt: skip
def test_what_counts_as_a_secret(key: str, value: object, secret: bool) -> None:
    assert secrets.is_secret(key, value) is secret


def test_a_literal_secret_on_the_command_line_becomes_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything downstream sees the reference: Hydra, child processes' command lines, W&B."""
    monkeypatch.setenv("MANYHEADS_SECRET_DATA_TOKEN", "")
    argv = secrets.hide_in_argv(["data=hub", "+data.token=hf_planted", "optim.lr=1e-3"])
    assert argv == ["data=hub", "+data.token=${oc.env:MANYHEADS_SECRET_DATA_TOKEN}", "optim.lr=1e-3"]
    assert os.environ["MANYHEADS_SECRET_DATA_TOKEN"] == "hf_planted"
    assert OmegaConf.create({"t": "${oc.env:MANYHEADS_SECRET_DATA_TOKEN}"}).t == "hf_planted"
    # a list stays one
    assert secrets.hide_in_argv(["+data.tokens=[a,b]"]) == ["+data.tokens=[a,b]"]
    assert secrets.masked_config(OmegaConf.create({"tokens": ["a1"]})) == {
        "tokens": ["${oc.env:MANYHEADS_SECRET_TOKENS_0}"]
    }


def test_config_is_resolved_but_for_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "from-the-environment")
    monkeypatch.setenv("MANYHEADS_SECRET_DATA_PASSWORD", "")
    cfg = OmegaConf.create(
        {"a": 3, "b": "${a}", "data": {"token": "${oc.env:MY_TOKEN}", "password": "literal", "list": [1, "${a}"]}}
    )
    assert secrets.masked_config(cfg) == {
        "a": 3,
        "b": 3,
        "data": {
            "token": "${oc.env:MY_TOKEN}",
            "password": "${oc.env:MANYHEADS_SECRET_DATA_PASSWORD}",
            "list": [1, 3],
        },
    }


def test_masked_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYHEADS_SECRET_X", "planted")
    text = secrets.mask("a planted thing at https://me:pw@host/x?token=abc&y=1")
    assert text == "a *** thing at https://***@host/x?token=***&y=1"
    text = secrets.mask("https://abc@host/x?X-Amz-Signature=abc&y=1#access_token=abc")
    assert text == "https://***@host/x?X-Amz-Signature=***&y=1#access_token=***"


def test_what_is_said_about_a_key_does_not_repeat_its_secret() -> None:
    """A config that was never composed is not known to `mask`: there the key's name must do."""
    said = "data.token=abc is no setting; +x={api_key: 'abc', n: 1}, tokenizer.path=t.json, experts_per_token=5, WANDB_API_KEY=abc"
    assert secrets.mask_said(said) == (
        "data.token=*** is no setting; +x={api_key: '***', n: 1}, tokenizer.path=t.json, experts_per_token=5, WANDB_API_KEY=***"
    )
    said = "Authorization: Bearer abc, prompt_tokens=12, tokens: 5, tokens=a1, pwd=x, trainer.max_tokens=many: set"
    assert secrets.mask_said(said) == (
        "Authorization: Bearer ***, prompt_tokens=12, tokens: 5, tokens=***, pwd=***, trainer.max_tokens=many: set"
    )
    assert secrets.mask_said("no file https:/me:pw@host/x") == "no file https:/***@host/x"


def test_a_value_made_of_a_secret_stays_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "from-the-environment")
    monkeypatch.setenv("MANYHEADS_SECRET_B_PASSWORD", "")
    written = {
        "a": "${oc.env:MY_TOKEN}", "b": {"password": "literal", "size": 3}, "c": "Bearer ${a}", "d": "${b.password}",
        "e": "${b.size}", "f": ["${c}"],
    }  # fmt: skip
    masked = secrets.masked_config(OmegaConf.create(written))
    hidden = {"password": "${oc.env:MANYHEADS_SECRET_B_PASSWORD}", "size": 3}
    assert masked == {**written, "b": hidden, "e": 3}
    assert OmegaConf.create(masked).f[0] == "Bearer from-the-environment"
