"""Secrets stay out of every file: literal ones become references to the environment before anything else sees them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

_NAMES = re.compile(
    r"(?:^|_)(?:token|password|passwd|secret|credentials?|(?:api|access|private|secret|wandb)_?key)$", re.IGNORECASE
)
# user:password@ in a URL, and key-like parameters of its query
_URL = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@|[?&](?:token|api_?key|access_?key|password|secret|signature|sig)=[^&\s]+", re.I
)
_PREFIX = "MANYHEADS_SECRET_"


def is_secret(key: str, value: object) -> bool:
    """Whether a setting is a literal secret: by the last part of its key, or because it is a URL with a key in it."""
    if not isinstance(value, str) or not value or value.startswith("${"):
        return False
    return bool(_NAMES.search(key.rpartition(".")[2])) or bool(_URL.search(value))


def hide(key: str, value: str) -> str:
    """Puts a secret into this process's environment, which children inherit, and returns the reference to it."""
    name = _PREFIX + re.sub(r"\W", "_", key).upper()
    os.environ[name] = value
    return f"${{oc.env:{name}}}"


def hide_in_argv(argv: list[str]) -> list[str]:
    """The command line with each literal secret replaced by a reference to the environment."""
    hidden = []
    for word in argv:
        key, equals, value = word.partition("=")
        bare = value.strip("'\"")
        hidden.append(f"{key}={hide(key.lstrip('+~'), bare)}" if equals and is_secret(key, bare) else word)
    return hidden


def masked_config(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain containers: resolved, but for what comes from the environment; literal secrets hidden."""
    masked = _masked(cfg, "")
    assert isinstance(masked, dict)
    return masked


def mask(text: str) -> str:
    """A text in which every hidden secret, and every key in a URL, is replaced by ***."""
    for name, value in os.environ.items():
        if name.startswith(_PREFIX) and value:
            text = text.replace(value, "***")
    return _URL.sub(
        lambda found: "://***@" if found[0].startswith("://") else found[0].partition("=")[0] + "=***", text
    )


def missing_secrets(cfg: DictConfig) -> list[str]:
    """The environment variables that a config refers to as secrets of ours and that are not set."""
    found = re.findall(rf"oc\.env:({_PREFIX}\w+)", OmegaConf.to_yaml(cfg))
    return [name for name in found if name not in os.environ]


def _masked(node: DictConfig | ListConfig, key: str) -> Any:
    if isinstance(node, DictConfig):
        return {str(name): _masked_item(node, name, f"{key}.{name}" if key else str(name)) for name in node}
    return [_masked_item(node, i, f"{key}.{i}") for i in range(len(node))]


def _masked_item(node: DictConfig | ListConfig, name: Any, key: str) -> Any:
    raw = node._get_node(name)
    text = raw._value() if raw is not None and not isinstance(raw, list) else None  # type: ignore[union-attr]
    if isinstance(text, str) and "oc.env" in text:
        return text
    value = node[name]
    if isinstance(value, DictConfig | ListConfig):
        return _masked(value, key)
    return hide(key, value) if is_secret(key, value) else value


def visible(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as texts for a screen, masked."""
    return {name: mask(str(value)) for name, value in settings.items()}
