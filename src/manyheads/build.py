"""Where objects come from: the config tree's folder, and the only function that builds what a yaml names."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from manyheads.errors import UserError, did_you_mean
from manyheads.signature import check_settings, parameters, plain_defaults

PACKAGES = ("manyheads", "torch", "pytorch_lightning", "lightning_fabric")


def conf_dir() -> Path:
    """The folder of the config tree: the package's own in a wheel, the repository's in a checkout.

    An editable install can leave a stale copy of `conf` in site-packages, so the package's own counts only when it
    stands beside this very file.
    """
    inside = Path(__file__).parent / "conf"
    return inside if (inside / "train.yaml").is_file() else Path(__file__).parents[2] / "conf"


CONF_DIR = conf_dir()


@functools.cache
def trusted_classes() -> tuple[type, ...]:
    """The base classes that a `_target_` may derive from."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.loggers import Logger
    from pytorch_lightning.profilers import Profiler
    from pytorch_lightning.strategies import Strategy

    modules = (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    return (*modules, pl.Callback, Logger, Strategy, Profiler, pl.LightningDataModule)


def resolve_target(target: object, key: str, allow: Iterable[str] = ()) -> Callable[..., Any]:
    """The class or builder that `target` names, if it may be built.

    Raises UserError when the target is outside the trusted packages and `allow`, does not exist, or is neither a class
    of a trusted kind nor a function marked as a builder.
    """
    module_name, _, name = str(target).rpartition(".")
    allowed = tuple(allow)
    if not _inside(module_name, (*PACKAGES, *allowed)):
        raise UserError(
            f"{key}._target_={target} is not a class of {', '.join(PACKAGES)}. "
            f"If you trust it, add allow=[{module_name.partition('.')[0] or target}] to this command line."
        )
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        hint = did_you_mean(name, _names_in(module_name))
        raise UserError(f"{key}._target_={target} does not exist ({error}).{hint}") from error
    origin = getattr(found, "__module__", None) or ""
    if _inside(module_name, allowed) and _inside(origin, (*allowed, *PACKAGES)):
        return found
    is_class = inspect.isclass(found) and issubclass(found, trusted_classes())
    is_builder = getattr(found, "__manyheads_builder__", False) is True and _inside(origin, ("manyheads",))
    if not (is_class or is_builder) or not _inside(origin, PACKAGES):
        raise UserError(
            f"{key}._target_={target} may not be built: only modules, optimizers, schedulers, callbacks, loggers, "
            "strategies, profilers, data modules and manyheads' own builders may."
        )
    return found


def build(node: Any, key: str, /, *, allow: Iterable[str] = (), **live: Any) -> Any:
    """Builds what `node` names, with the node's keys and the live objects as keyword arguments.

    Live objects never pass through a config node. Raises UserError for a target that may not be built, for a key that
    the target's signature does not have, and for a value that the signature's annotation does not admit.
    """
    settings = settings_of(node, key)
    for place, target in _targets(settings, key):
        resolve_target(target, place, allow)
    target = resolve_target(settings.pop("_target_"), key, allow)
    settings = {name: _nested(value, f"{key}.{name}", allow) for name, value in settings.items()}
    check_settings(target, settings, key)
    for name in settings.keys() & live.keys():
        if settings[name] != parameters(target)[name].default:
            raise UserError(f"{key}.{name}={settings[name]}: manyheads sets this itself. Leave it out.")
    return target(**{**settings, **live})


def target_of(node: Any, key: str, allow: Iterable[str] = ()) -> Callable[..., Any]:
    """The class or builder that a node names, without building it."""
    return resolve_target(settings_of(node, key)["_target_"], key, allow)


def check_installed(node: Any, key: str, allow: Iterable[str] = ()) -> None:
    """Raises UserError, with what to install, when a package is not there that the builder of a node needs."""
    modules, pip = getattr(target_of(node, key, allow), "__manyheads_needs__", ((), ""))
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{key} needs the package {missing[0]}, which is not installed: pip install {pip}")


def check_tree(cfg: DictConfig, allow: Iterable[str] = ()) -> None:
    """Binds every node of the tree that has a `_target_` to the target's signature, before anything is built."""
    for key in cfg:
        node = cfg[str(key)]
        if isinstance(node, DictConfig):
            for place, inner in _nodes(OmegaConf.to_container(node, resolve=True), str(key)):
                settings = {name: value for name, value in inner.items() if name != "_target_"}
                check_settings(resolve_target(inner["_target_"], place, allow), settings, place)


def complete(cfg: DictConfig, allow: Iterable[str] = ()) -> DictConfig:
    """A copy of the tree in which each node also holds the defaults of its target's signature.

    So a saved config says everything, and a default that changes in a later version does not change an old run.
    """
    full = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    assert isinstance(full, DictConfig)
    for key in cfg:
        node = full._get_node(str(key))
        if isinstance(node, DictConfig) and "_target_" in node:
            _complete(node, str(key), allow)
    return full


def _complete(node: DictConfig, key: str, allow: Iterable[str]) -> None:
    """Fills in the defaults of a node, and of those inside it that name something to build."""
    if "_target_" in node:
        for name, default in plain_defaults(resolve_target(node._target_, key, allow)).items():
            if name not in node:
                node[name] = default
    for name in node:
        inner = node._get_node(str(name))
        if isinstance(inner, DictConfig) and not inner._is_none() and not inner._is_missing():
            _complete(inner, f"{key}.{name}", allow)


def settings_of(node: Any, key: str) -> dict[str, Any]:
    """The resolved keys of a node that names something to build. Raises UserError when it names nothing."""
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise UserError(f"{key} names nothing to build: it has no _target_. Choose one with {key}=NAME.")
    settings = OmegaConf.to_container(node, resolve=True)
    assert isinstance(settings, dict)
    return {str(name): value for name, value in settings.items()}


def _nested(value: Any, key: str, allow: Iterable[str]) -> Any:
    """Builds the nodes inside a setting that have a `_target_` of their own."""
    if isinstance(value, dict):
        inner = {str(name): _nested(item, f"{key}.{name}", allow) for name, item in value.items()}
        if "_target_" not in inner:
            return inner
        target = resolve_target(inner.pop("_target_"), key, allow)
        check_settings(target, inner, key)
        return target(**inner)
    if isinstance(value, list):
        return [_nested(item, f"{key}[{i}]", allow) for i, item in enumerate(value)]
    return value


def _nodes(value: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield key, value
        for name, item in value.items():
            yield from _nodes(item, f"{key}.{name}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _nodes(item, f"{key}[{i}]")


def _targets(value: Any, key: str) -> list[tuple[str, object]]:
    return [(place, node["_target_"]) for place, node in _nodes(value, key)]


def _inside(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def _names_in(module: str) -> list[str]:
    try:
        return dir(importlib.import_module(module))
    except ImportError:
        return []
