"""The runs that a command line names: one that it composes over, one whose network a new run takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from manyheads.errors import UserError
from manyheads.run.folder import open_run_folder, read_config

OF_RUN = "manyheads_run"
"""The primary config that is a run's own, and what a group of it is chosen as that stays what it was."""


class Base(NamedTuple):
    """The run that a command composes over."""

    config: DictConfig
    choices: dict[str, str]  # of each group, as far as they are known


NEVER_EMPTY = ("init", "resume", "embedding_from")
"""Keys that name a run and need none: an empty value is a shell variable that was not set, and means no run to nobody."""


def setting(words: Sequence[str], key: str) -> str | None:
    """The last value that a command line gives a key; None when it gives none. Raises UserError for a run without a name."""
    values = [word.partition("=")[2].strip("'\"") for word in words if word.lstrip("+").startswith(f"{key}=")]
    if key in NEVER_EMPTY and "" in values:
        raise UserError(f"{key} is empty: set {key}=FOLDER, a run folder (`manyheads runs` lists them), or {key}=null.")
    return values[-1] if values and values[-1] not in ("", "null") else None


def base_of(words: Sequence[str], key: str) -> Base | None:
    """The config of the run that a command line names with `key`, if it names one: that of a folder, or what a
    checkpoint file holds. Raises UserError for no run."""
    place = setting(words, key)
    if place is None:
        return None
    if Path(place).suffix == ".ckpt":
        from manyheads.run.checkpoint import read_run_config  # it imports torch, for which no folder has to wait

        config, stamp = read_run_config(place, key)
    else:
        config, stamp = read_config(open_run_folder(place, key))
    return Base(config, {str(group): str(choice) for group, choice in (stamp.get("choices") or {}).items()})


def start_of(words: Sequence[str]) -> Base | None:
    """The run whose network a new run takes with its weights: that of `init`, unless the command line names a network.
    Raises UserError for no run, and for a command line that names another tokenizer beside it."""
    place = setting(words, "init")
    if place is None or place[0] in "[{" or "," in place or setting(words, "resume"):
        return None
    found = base_of(words, "init")
    if found is None:
        return None
    _check_tokenizer(words, found, place)
    return found if "model" in found.config and not setting(words, "model") else None


def _check_tokenizer(words: Sequence[str], start: Base, place: str) -> None:
    """Raises UserError where the command line itself names another tokenizer; an experiment may, which is written for runs
    without a start too."""
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        group, _, name = key.partition(".")
        if group != "tokenizer":
            continue
        known = OmegaConf.select(start.config, key) if name else start.choices.get("tokenizer")
        if known is not None and value.strip("'\"") != str(known):
            raise UserError(
                f"{word}: init={place} brings its tokenizer along ({key} is {known} there), without which its weights would "
                f"mean nothing. Leave {key} out."
            )
