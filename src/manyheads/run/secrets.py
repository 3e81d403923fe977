"""Secrets stay out of every file: literal ones become references to the environment before anything else sees them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig

# a number of something per token, and the name of the token that hides others, are no secrets
_NAMES = re.compile(
    r"(?:^|_)(?:(?<!per_)(?<!mask_)token|(?<!max_)(?<!new_)(?<!sample_)tokens|passwords?|passwd|passphrase|pass|pwd|secrets?|credentials?"
    r"|auth|authorization|bearer|cookie|(?:api|access|private|secret|wandb)_?key)$",
    re.IGNORECASE,
)
# user:password@ or token@ in a URL (with one slash once it was taken for a path), and key-like parameters of its query
_URL = re.compile(
    r"(?<=\w\w)(:/{1,2})(?:[^/\s:@]*:[^/\s]+|[^/\s?#'\"]+)@"
    r"|([?&;#][^\s=&?#]*?(?:token|key|secret|password|passwd|pwd|signature|sig|auth|credential|passphrase)=)[^&\s]+",
    re.IGNORECASE,
)
# a count of tokens, several of them for a sweep, and what says that there is none: no secret looks like that
_PLAIN = re.compile(r"(?:null|true|false|[-+\d.,_eE\s()\[\]]*|(?:choice|range|interval)\(.*\))", re.IGNORECASE)
_COUNTS = re.compile(r"tokens$", re.IGNORECASE)
_PREFIX = "MANYHEADS_SECRET_"
# data.token=VALUE and {password: 'VALUE'}
_PAIR = re.compile(
    _NAMES.pattern.replace("(?:^|_)", r"(?<![^\W_])", 1)[:-1]
    + r"(\s*[=:]\s*['\"]?(?:(?:bearer|basic) )?)(?!(?:(?<=tokens[=:])|(?<=tokens: ))[\d.]+(?!\w))[^\s,'\"{}\[\]]+",
    re.IGNORECASE,
)


def is_secret(key: str, value: object) -> bool:
    """Whether a setting is a literal secret: by the last part of its key, or because it is a URL with a key in it.

    An item of a list goes by the list's key.
    """
    if not isinstance(value, str) or not value or value.startswith("${"):
        return False
    name = re.sub(r"(?:\.\d+)+$", "", key).rpartition(".")[2]
    named = bool(_NAMES.search(name)) and not (_COUNTS.search(name) and _PLAIN.fullmatch(value))
    return named or bool(_URL.search(value))


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
        # what a list or a mapping holds is hidden when the config is written: here it would become a text
        literal = equals and not value.startswith(("[", "{")) and is_secret(key, bare)
        hidden.append(f"{key}={hide(key.lstrip('+~'), bare)}" if literal else word)
    return hidden


def masked_config(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain containers: resolved, but for what comes from the environment; literal secrets hidden.

    A value that is made of another one that is kept back stays a reference too.
    """
    masked = _masked(cfg, "", set(_kept_back(cfg, "")))
    assert isinstance(masked, dict)
    return masked


def mask(text: str) -> str:
    """A text in which every hidden secret, and every key in a URL, is replaced by ***."""
    for name, value in os.environ.items():
        if name.startswith(_PREFIX) and value:
            text = text.replace(value, "***")
    return _URL.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", text)


def mask_said(text: str) -> str:
    """`mask` for what a user is told about settings: the value of each key with a secret's name is replaced too."""
    return _PAIR.sub(lambda found: f"{found[0][: found.end(1) - found.start()]}***", mask(text))


def _masked(node: DictConfig | ListConfig, key: str, kept_back: set[str]) -> Any:
    if isinstance(node, DictConfig):
        return {str(name): _masked_item(node, name, _below(key, name), kept_back) for name in node}
    return [_masked_item(node, i, _below(key, i), kept_back) for i in range(len(node))]


def _masked_item(node: DictConfig | ListConfig, name: Any, key: str, kept_back: set[str]) -> Any:
    text, value = _written(node, name), node[name]
    if text is not None and ("oc.env" in text or any(each in str(value) for each in kept_back)):
        return text
    if isinstance(value, DictConfig | ListConfig):
        return _masked(value, key, kept_back)
    return hide(key, value) if is_secret(key, value) else value


def _kept_back(node: DictConfig | ListConfig, key: str) -> Iterator[str]:
    """The values that come from the environment or are literal secrets."""
    for name in _names(node):
        text, value = _written(node, name), node[name]
        if isinstance(value, DictConfig | ListConfig):
            if text is None:
                yield from _kept_back(value, _below(key, name))
        elif value is not None and str(value) and ((text and "oc.env" in text) or is_secret(_below(key, name), value)):
            yield str(value)


def _names(node: DictConfig | ListConfig) -> Iterable[Any]:
    return node if isinstance(node, DictConfig) else range(len(node))


def _written(node: DictConfig | ListConfig, name: Any) -> str | None:
    """An item as it was written when it refers to something, else None."""
    raw = node._get_node(name)
    text = raw._value() if raw is not None and not isinstance(raw, list) else None
    return text if isinstance(text, str) and "${" in text else None


def _below(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else str(name)
