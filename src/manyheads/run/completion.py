"""Shell completion: the scripts that shells load, and what they ask for when a user presses Tab.

For train and eval the answers are Hydra's own, with the verb taken out of the line, and run folders besides.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from manyheads.errors import EXIT_DONE, UserError, check_choice

VERBS = ("train", "eval", "predict", "generate", "chat", "families", "model", "runs")
SHELLS = ("bash", "zsh", "fish")
_RUN_KEYS = ("run=", "resume=", "init=", "embedding_from=")

# Where `=` breaks words, readline replaces only what stands after it, so the part before is cut from each answer.
_BASH = """\
_manyheads_complete() {
    local line="${COMP_LINE:0:$COMP_POINT}" word before="" answer
    word="${line##* }"
    if [[ "$COMP_WORDBREAKS" == *=* && "$word" == *=* ]]; then before="${word%=*}="; fi
    COMPREPLY=()
    while IFS= read -r answer; do
        case "$answer" in "") continue ;; *[=./]) ;; *) answer="$answer " ;; esac
        COMPREPLY+=("${answer#"$before"}")
    done < <(COMP_LINE="$line" COMP_POINT="$COMP_POINT" manyheads -sc query=bash 2>/dev/null)
}
complete -o nospace -o default -F _manyheads_complete manyheads
"""
_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n" + _BASH
_FISH = """\
function _manyheads_complete
    set -lx COMP_LINE (commandline -cp)
    manyheads -sc query=fish 2>/dev/null
end
complete -c manyheads -f -a '(_manyheads_complete)'
"""
_INSTALL = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_UNINSTALL = {
    "bash": "complete -r manyheads\nunset -f _manyheads_complete\n",
    "zsh": "compdef -d manyheads\nunset -f _manyheads_complete\n",
    "fish": "complete -e -c manyheads\nfunctions -e _manyheads_complete\n",
}


def shell_completion(words: Sequence[str]) -> int:
    """`manyheads -sc install=SHELL | uninstall=SHELL | query=SHELL`. Raises UserError for anything else."""
    action, _, shell = (words[0] if words else "").partition("=")
    if action not in ("install", "uninstall", "query"):
        raise UserError(f"-sc {' '.join(words)}: write -sc install=SHELL or uninstall=SHELL, with bash, zsh or fish.")
    check_choice(f"-sc {action}", shell, SHELLS)
    if action == "query":
        from manyheads.build import CONF_DIR

        line = _line()
        answers = answer(line.partition(" ")[2] if " " in line else "", CONF_DIR)
        sys.stdout.write("".join(f"{word}\n" for word in answers))
    else:
        sys.stdout.write((_INSTALL if action == "install" else _UNINSTALL)[shell])
    return EXIT_DONE


def verb_completion(verb: str, argv: Sequence[str], conf_dir: Path) -> int:
    """`python train.py -sc ...`: Hydra's scripts; queries are answered as for the console script."""
    words = [word for word in argv if word not in ("-sc", "--shell-completion")]
    if not words or not words[0].startswith("query="):
        if not sys.argv[0].endswith(".py") or sys.argv[0].endswith("__main__.py"):
            return shell_completion(words)
        from manyheads.run.compose import hydra_main

        hydra_main(verb, list(argv), conf_dir, lambda *_: None)
        return EXIT_DONE
    from hydra.plugins.completion_plugin import CompletionPlugin

    line = CompletionPlugin.strip_python_or_app_name(_line())
    sys.stdout.write("".join(f"{word}\n" for word in answer_verb(verb, line, conf_dir)))
    return EXIT_DONE


def answer(line: str, conf_dir: Path) -> list[str]:
    """What could stand where the line ends; `line` is what follows the program's name."""
    words, word = _split(line)
    if not words:
        return [verb for verb in (*VERBS, "--help", "--version") if verb.startswith(word)]
    verb, rest = words[0], line.lstrip()[len(words[0]) :].lstrip()
    if verb in ("train", "eval"):
        return answer_verb(verb, rest, conf_dir)
    if verb == "model":  # of train's config; its own flags are not Hydra's
        flags = ("--json", "--config-dir", "--help")
        return (
            [f for f in flags if f.startswith(word)] if word.startswith("-") else answer_verb("train", rest, conf_dir)
        )
    if verb in ("generate", "predict", "chat"):
        return _keys_of(verb, word, conf_dir)
    if verb == "families":
        return [flag for flag in ("--json", "--markdown", "--config-dir", "--allow", "--help") if flag.startswith(word)]
    return _runs(words[1:], word) if verb == "runs" else []


def answer_verb(verb: str, line: str, conf_dir: Path) -> list[str]:
    """What Hydra answers for a line without program and verb, and run folders after `run=` and the like."""
    words, word = _split(line)
    folders = _run_folders(word)
    if folders:
        return folders
    if word.startswith("-"):
        from hydra._internal.utils import get_args_parser

        flags = [flag for action in get_args_parser()._actions for flag in action.option_strings]
        return sorted(flag for flag in flags if flag.startswith(word) and flag.startswith("--"))
    return sorted({*_hydras(verb, line, conf_dir), *_arguments(verb, words, word, conf_dir)})


def _hydras(verb: str, line: str, conf_dir: Path) -> list[str]:
    from hydra._internal.core_plugins.bash_completion import BashCompletion

    from manyheads.run.composer import Composer

    composer = Composer(verb, conf_dir)
    try:
        found = BashCompletion(composer.loader)._query(config_name=composer.config_name, line=line)
    except (Exception, SystemExit):  # a line that is half written need not compose
        return []
    return [word for word in found if not word.startswith(("hydra.", "hydra/")) or "hydra" in line]


def _arguments(verb: str, words: Sequence[str], word: str, conf_dir: Path) -> list[str]:
    """Settings that the yaml leaves out and its target's signature has: `model.no` -> `model.norm=`."""
    parent, dot, start = word.rpartition(".")
    if not dot or "=" in word:
        return []
    from omegaconf import DictConfig, OmegaConf

    from manyheads.run.composer import Composer, settings_of

    try:
        config = Composer(verb, conf_dir).compose([w for w in words if "=" in w])
        node = OmegaConf.select(config, parent)
    except Exception:
        return []
    names = settings_of(node) if isinstance(node, DictConfig) else {}
    return [f"{parent}.{name}=" for name, has_default in names.items() if has_default and name.startswith(start)]


def _keys_of(verb: str, word: str, conf_dir: Path) -> list[str]:
    folders = _run_folders(word)
    if folders or "=" in word:
        return folders
    from manyheads.run.help import root_keys

    keys = [left.partition("=")[0] + "=" for left, _ in root_keys(conf_dir / f"{verb}.yaml")]
    return [key for key in (*keys, "--help") if key.startswith(word)]


def _runs(words: Sequence[str], word: str) -> list[str]:
    from manyheads.run.find import find_runs
    from manyheads.run.runs import make_parser

    last = words[-1] if words else ""
    if last in ("--sort", "--by"):
        names = sorted({name for run in find_runs() for name in run.numbers})
        return [name for name in names if name.startswith(word)]
    if "--diff" in words[-2:]:
        return [run.name for run in find_runs() if run.name.startswith(word)]
    if not word.startswith("-"):
        return []
    flags = [flag for action in make_parser()._actions for flag in action.option_strings]
    return sorted(flag for flag in flags if flag.startswith(word) and flag.startswith("--"))


def _run_folders(word: str) -> list[str]:
    key = next((key for key in _RUN_KEYS if word.startswith(key)), None)
    if key is None:
        return []
    from manyheads.run.find import find_runs

    return [name for run in find_runs() if (name := f"{key}{run.path}").startswith(word)]


def _split(line: str) -> tuple[list[str], str]:
    """The finished words and the one that is being written."""
    words: list[str] = line.split()
    return (words, "") if not words or line[-1:].isspace() else (words[:-1], words[-1])


def _line() -> str:
    """The command line up to the cursor."""
    line = os.environ.get("COMP_LINE", "")
    point = os.environ.get("COMP_POINT", "")
    return line[: int(point)] if point.isdigit() else line
