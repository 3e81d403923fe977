"""What one command line composes to, found out before Hydra runs anything."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf

from manyheads.errors import UserError, nearest
from manyheads.run.base import OF_RUN, Base
from manyheads.run.folder import make_folder
from manyheads.run.member_words import member_words
from manyheads.run.schema import arguments

if TYPE_CHECKING:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.types import Override

RECIPES = ("experiment", "sweep", "debug")
"""Groups that set keys all over the config: over a run's own config they would undo what the run was."""

_CHOSEN_BY_OTHERS = (
    "data",
    "tokenizer",
    "optim",
    "model",
    "head",
)  # a yaml of a task, or of a model, may name those that fit it, for a new run
_MOST_CHECKS = 64  # compositions of a sweep that are tried before it starts


class Composer:
    """Composes `conf_dir/<verb>.yaml`, or a run's own config in its place, with overrides."""

    def __init__(
        self,
        verb: str,
        conf_dir: Path,
        *,
        config_dir: str | None = None,
        config_name: str | None = None,
        base: Base | None = None,
        start: Base | None = None,
    ) -> None:
        self.verb = verb
        self.conf_dir = conf_dir.resolve()
        self.config_dir = config_dir
        self.base = base
        self.start = start
        self.config_name = OF_RUN if base else config_name or verb
        self.loader = self._make_loader()

    def compose(self, overrides: Sequence[str], *, check_sweeps: bool = True) -> DictConfig:
        """The whole config, Hydra's own part included. Raises Hydra's and OmegaConf's exceptions."""
        from hydra.types import RunMode

        with self.registered(overrides) as kept:
            return self.loader.load_configuration(
                self.config_name, list(kept), RunMode.RUN, validate_sweep_overrides=check_sweeps
            )

    def settle(self, overrides: Sequence[str], *, sweep: bool) -> list[str]:
        """The overrides with `++` before each key that the yaml leaves out and its target's signature has.

        Composes once, and once for each further value of a sweep, so that whatever is wrong is told before anything
        starts.
        """
        settled = list(overrides)
        for trial in self._trials(settled) if sweep else [None]:
            for _ in range(len(settled) + 1):
                try:
                    self.compose(trial(settled) if trial else settled)
                    break
                except Exception as error:
                    place = self._known_key(error, settled)
                    if place is None:
                        raise
                    settled[place] = f"++{settled[place]}"
        return settled

    @contextlib.contextmanager
    def registered(self, overrides: Sequence[str]) -> Iterator[list[str]]:
        """Puts the run's config where Hydra finds it as the primary config; gives the overrides that are left to do."""
        if self.base is None:
            words = [*overrides, *([f"model={OF_RUN}"] if self.start else [])]
            with _stored({"model": self.start.config.model} if self.start else {}):
                yield [*words, *member_words(self, words)]
            return
        node, kept = self._over(self.base.config, overrides)
        with _stored({None: node, **{group: {} for group in _CHOSEN_BY_OTHERS}}):
            yield kept

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """The overrides as Hydra's grammar reads them."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        return OverridesParser.create(config_loader=self.loader).parse_overrides(list(overrides))

    def choices_of(self, group: str, overrides: Sequence[str] = ()) -> list[str]:
        """The choices of a group, those of --config-dir and hydra.searchpath included; [] when it is no group."""
        paths = [word for word in overrides if word.startswith("hydra.searchpath=")]
        return list(self.loader.get_group_options(group, config_name=None, overrides=paths))

    def choices_with(self, group: str, setting: str) -> list[str]:
        """The choices of a group whose own yaml, or the signature of its target, has a setting."""
        found = {name: self.loader.repository.load_config(f"{group}/{name}") for name in self.choices_of(group)}
        return [
            name
            for name, yaml_of in found.items()
            if yaml_of and isinstance(yaml_of.config, DictConfig) and setting in settings_of(yaml_of.config)
        ]

    def groups(self) -> list[str]:
        """The groups of the config tree, Hydra's own left out."""
        return [name for name in self.loader.list_groups("") if name != "hydra"]

    def own_keys(self) -> dict[str, Any]:
        """The plain keys of the verb's yaml: those that are no group."""
        text = (self.conf_dir / f"{self.verb}.yaml").read_text(encoding="utf-8")
        found = yaml.safe_load(text) or {}
        return {key: value for key, value in found.items() if key not in ("defaults", "hydra")}

    def _make_loader(self) -> ConfigLoaderImpl:
        from hydra import version
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from hydra._internal.utils import create_config_search_path
        from hydra.core.config_search_path import SearchPathQuery
        from hydra.core.utils import setup_globals

        version.setbase("1.3")
        setup_globals()
        register_resolvers()
        path = create_config_search_path(str(self.conf_dir))
        if self.config_dir is not None:
            folder = Path(self.config_dir).expanduser()
            if not folder.is_dir():
                raise UserError(f"--config-dir {self.config_dir}: there is no such folder.")
            path.prepend("command-line", f"file://{folder.resolve()}", SearchPathQuery(provider="schema"))
        return ConfigLoaderImpl(path)

    def _over(self, config: DictConfig, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """The primary config and the overrides left to do: an overridden group is taken out of the run's config and
        named in the defaults list, so that Hydra puts the chosen yaml in its place."""
        node = OmegaConf.to_container(config, resolve=False)
        assert isinstance(node, dict)
        # `defaults` and `hydra` would let a config from elsewhere choose what Hydra itself instantiates
        node = {str(key): value for key, value in node.items() if key not in ("defaults", "hydra", "allow")}
        own = self.own_keys()
        node = own | node if self.verb == "train" else node | own
        node["allow"] = own.get("allow", [])
        defaults: list[Any] = ["_self_", {"optional hydra": "default"}]
        kept = []
        for word, override in zip(overrides, self.parse(overrides), strict=True):
            group = override.key_or_group
            if group in RECIPES:
                raise UserError(
                    f"{word}: {group} does not go with a run's own config, which it would overwrite. "
                    "Set single keys instead, or start a new run."
                )
            if group == "checkpoint" and self.verb == "train":
                raise UserError(
                    f"{word}: a resumed run goes on from its last checkpoint. Leave it out; with init=FOLDER in place of "
                    "resume, it chooses the weights that a new run starts from."
                )
            if group.partition("/")[0] == "hydra" or not self.choices_of(group, overrides):
                kept.append(word)
                continue
            if override.package:  # a part of a member of a mixture
                _take_out(node, override.package)
                kept.append(f"+{word.lstrip('+')}")
                continue
            node.pop(group, None)
            if not override.is_delete():
                defaults.append({group: None})
                kept.append(word.lstrip("+"))
        stays = [group for group in _CHOSEN_BY_OTHERS if group in node]
        defaults[1:1] = [{group: None} for group in stays]
        defaults += [{f"override {group}": OF_RUN} for group in stays]
        return {"defaults": defaults, **node}, kept

    def _trials(self, overrides: Sequence[str]) -> list[Any]:
        """Functions from the overrides to those of one run, which together try each value of a sweep once."""
        parsed = self.parse(overrides)
        values = [list(o.sweep_string_iterator()) if o.is_discrete_sweep() else ["0"] for o in parsed]
        sweeps = [o.is_sweep_override() for o in parsed]
        picks = [(0, 0)] + [(i, j) for i, tried in enumerate(values) if sweeps[i] for j in range(1, len(tried))]

        def make(at: int, pick: int) -> Any:
            def trial(words: Sequence[str]) -> list[str]:
                return [
                    f"{word.partition('=')[0]}={values[i][pick if i == at else 0]}" if sweeps[i] else word
                    for i, word in enumerate(words)
                ]

            return trial

        return [make(*place) for place in picks[:_MOST_CHECKS]]

    def _known_key(self, error: Exception, overrides: Sequence[str]) -> int | None:
        """The place of the override that failed only since the yaml does not spell out an argument with a default."""
        found = unknown_key(error)
        if found is None or not found.known:
            return None
        for i, word in enumerate(overrides):
            if word.partition("=")[0] == found.key:
                return i
        return None


@contextlib.contextmanager
def _stored(nodes: Mapping[str | None, Any]) -> Iterator[None]:
    """Lets Hydra find each node as the choice OF_RUN of its group; None: the primary config."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    before = store.repo
    store.repo = copy.deepcopy(before)
    for group, node in nodes.items():
        store.store(group=group, name=OF_RUN, node=node)
    try:
        yield
    finally:
        store.repo = before


def _take_out(node: dict[str, Any], place: str) -> None:
    """Takes what stands at a dotted place out of a config, so that nothing of it is left in what comes there."""
    *above, last = place.split(".")
    for name in above:
        node = node.get(name) or {}
    node.pop(last, None)


class UnknownKey(NamedTuple):
    """A key that a config does not have."""

    key: str  # as it was typed
    missing: str  # its part that is not there
    parent: str  # the full key of the node that lacks it; "" for the top
    names: list[str]  # what is there: keys of the node and, where it has a target, arguments with a default
    known: bool  # the target's signature has it
    elsewhere: list[str]  # full keys of other nodes that end in the same name, or nearly so
    builds: bool  # the node names something to build


def unknown_key(error: BaseException) -> UnknownKey | None:
    """What an exception of Hydra says about a key that is not in the config; None for any other exception."""
    found = re.match(r"Could not override '([^']+)'\.", str(error))
    cause = error.__cause__
    if found is None or cause is None or not isinstance(getattr(cause, "parent_node", None), DictConfig):
        return None
    node: DictConfig = cause.parent_node  # type: ignore[attr-defined]
    key, parts = found[1], found[1].split(".")
    parent = str(node._get_full_key(None) or "")
    depth = len(parent.split(".")) if parent else 0
    missing = parts[depth] if depth < len(parts) else str(cause.key)  # type: ignore[attr-defined]
    names = settings_of(node)
    known = names.get(missing, False) and depth == len(parts) - 1
    everywhere = list(_leaves(node._get_root()))  # type: ignore[arg-type]
    same = [full for full in everywhere if full.rpartition(".")[2] == parts[-1] and full != key]
    return UnknownKey(
        key, missing, parent, sorted(names), known, same or nearest(key, everywhere, 2), "_target_" in node
    )


def settings_of(node: DictConfig) -> dict[str, bool]:
    """The names that a node can hold, each with whether its target's signature gives it a default."""
    names = {str(name): False for name in node if not str(name).startswith("_")}
    target = node._get_node("_target_") if "_target_" in node else None
    known = arguments(str(target._value())) if target is not None else {}  # type: ignore[union-attr]
    return names | {name: True for name, has_default in known.items() if has_default}


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in settings_of(node):
        if prefix == "" and name == "hydra":
            continue
        child = node._get_node(name) if name in node else None
        full = f"{prefix}{name}"
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from _leaves(child, f"{full}.")
        else:
            yield full


def register_resolvers() -> None:
    """`${new_folder:PATH}`: makes the folder, and takes -2, -3, ... when the name is taken, so that two sweeps that
    start in the same second never share one."""
    OmegaConf.register_new_resolver(
        "new_folder", lambda path: str(make_folder(Path(path))), use_cache=True, replace=True
    )
