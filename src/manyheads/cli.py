"""The console script and the front door: a verb is imported when it is called, and every error ends here."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads import __version__
from manyheads.errors import EXIT_DONE, EXIT_USER, SIGNAL_BASE, UserError, did_you_mean, explain

if TYPE_CHECKING:
    from omegaconf import DictConfig


_SIGPIPE = 13


def main(argv: list[str] | None = None) -> int:
    """Runs one command line (without the program's name) and returns the exit code: 0 done, 1 a mistake that was said
    in one or two lines, 130 or 143 interrupted."""
    words = sys.argv[1:] if argv is None else list(argv)
    show_all = os.environ.get("HYDRA_FULL_ERROR") == "1"  # the user's own wish, before anything sets it
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter's own flush fails again
        return SIGNAL_BASE + _SIGPIPE
    except SystemExit as leaving:
        return _code(leaving)
    except BaseException as error:
        return _tell(error, show_all)


def _tell(error: BaseException, show_all: bool) -> int:
    """Says what went wrong, without secrets, and gives the exit code."""
    from manyheads.run.secrets import mask_said

    text, code = explain(error)
    if text is None or show_all:
        sys.stderr.write(mask_said("".join(traceback.format_exception(error))))
    if text:
        print(f"error: {mask_said(text)}", file=sys.stderr)
    return code


def _dispatch(words: list[str]) -> int:
    verb, rest = (words[0], words[1:]) if words else ("", [])
    if verb in ("--version", "-V") or (verb in VERBS and "--version" in rest):
        print(f"manyheads {__version__}")
        return EXIT_DONE
    if verb in ("--help", "-h", "help"):
        return _help(rest)
    if verb in ("-sc", "--shell-completion"):
        from manyheads.run.completion import shell_completion

        return shell_completion(rest)
    if verb not in VERBS:
        if not verb:
            raise UserError(f"name a verb: {', '.join(VERBS)}. `manyheads --help` says what each does.")
        raise UserError(f"{verb}: there is no such verb.{did_you_mean(verb, VERBS)} The verbs are {', '.join(VERBS)}.")
    return VERBS[verb](rest)


def _help(words: list[str]) -> int:
    from manyheads.run.help import PROGRAM

    if not words:
        print(PROGRAM, end="")
        return EXIT_DONE
    return _dispatch([words[0], "--help"])


def _train(argv: list[str]) -> int:
    if _wants_help(argv):
        return _page("train", argv)
    return _hydra("train", argv, "resume", _train_config)


def _train_config(cfg: DictConfig, folder: Path | None, choices: dict[str, str]) -> Any:
    from manyheads.launch import asked, train_ranks

    if (count := asked(cfg)) > 1:
        return train_ranks(count, cfg, folder, choices, sys.argv)
    return _load("manyheads.train:train")(cfg, folder, choices)


def _eval(argv: list[str]) -> int:
    if _wants_help(argv):
        return _page("eval", argv)
    from manyheads.run.base import setting

    if setting(argv, "run") is None and not any(word.startswith("-") for word in argv):
        from manyheads.run.find import run_not_set

        raise run_not_set()
    return _hydra("eval", argv, "run", _eval_config)


def _eval_config(cfg: DictConfig, folder: Path | None, choices: dict[str, str]) -> Any:
    from manyheads.launch import asked, run_ranks

    if (count := asked(cfg)) > 1:
        return run_ranks("manyheads.eval:evaluate", count, cfg, {})
    return _load("manyheads.eval:evaluate")(cfg)


def _generate(argv: list[str]) -> int:
    return int(_load("manyheads.generate:generate_main")(argv) or EXIT_DONE)


def _predict(argv: list[str]) -> int:
    return int(_load("manyheads.predict:predict_main")(argv))


def _families(argv: list[str]) -> int:
    return int(_load("manyheads.families:families_main")(argv))


def _chat(argv: list[str]) -> int:
    return int(_load("manyheads.chat:chat_main")(argv))


def _model(argv: list[str]) -> int:
    return int(_load("manyheads.describe:describe_main")(argv))


def _runs(argv: list[str]) -> int:
    return int(_load("manyheads.run.runs:main")(argv))


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "eval": _eval,
    "predict": _predict,
    "generate": _generate,
    "chat": _chat,
    "families": _families,
    "model": _model,
    "runs": _runs,
}


def _hydra(
    verb: str, argv: list[str], base_key: str, task: Callable[[DictConfig, Path | None, dict[str, str]], Any]
) -> int:
    from manyheads.build import CONF_DIR

    if any(word in ("-sc", "--shell-completion") for word in argv):
        from manyheads.run.completion import verb_completion

        return verb_completion(verb, argv, CONF_DIR)
    from manyheads.run.base import base_of
    from manyheads.run.compose import hydra_main

    hydra_main(verb, argv, CONF_DIR, task, base_of(argv, base_key))
    return EXIT_DONE


def _wants_help(argv: list[str]) -> bool:
    return any(word in ("--help", "-h") for word in argv)


def _page(verb: str, argv: list[str]) -> int:
    from manyheads.build import CONF_DIR
    from manyheads.run.help import page
    from manyheads.run.typed import command

    after = itertools.pairwise(argv)
    more = [Path(value) for flag, value in after if flag in ("--config-dir", "-cd")]
    more += [Path(word.partition("=")[2]) for word in argv if word.startswith("--config-dir=")]
    print(page(verb, command(verb), CONF_DIR, more), end="")
    return EXIT_DONE


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _code(leaving: SystemExit) -> int:
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or EXIT_DONE
    print(leaving.code, file=sys.stderr)
    return EXIT_USER
