"""The help pages of the verbs: made from the config tree, without Hydra, torch or Lightning."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

WIDTH = 118  # at most
_NARROWEST = 60
_INDENT = 2
_LEFT = 72  # a longer left column stands on a line of its own

_TRAIN = """\
Trains a language model and leaves a run folder: config, checkpoints, metrics, results. With no argument it trains a
small Transformer on Python's own documentation, without a network, in about three minutes on two CPU cores.

Usage: {command} [GROUP=CHOICE ...] [KEY=VALUE ...] [FLAGS]
"""
_EVAL = """\
Scores the weights of a run on its validation and test split. The run's own config is the base; any GROUP=CHOICE or
KEY=VALUE composes over it.

Usage: {command} run=FOLDER [GROUP=CHOICE ...] [KEY=VALUE ...] [FLAGS]
"""
_SCORING = (
    ("data.path=FILE", "where the data is now; or, after data=text, json, csv or parquet, other data"),
    (
        "'data.path={validation: A, test: B}'",
        "score A and B; a file without such splits is scored whole, as the test split",
    ),
    ("task.batch_size=64", "texts scored side by side; changes the speed, not the scores"),
    ("task.seq_len=512", "the most tokens that are read at once"),
    ("trainer.precision=32-true", "as Lightning's Trainer takes it; trainer=cpu and trainer=gpu choose the device"),
)
_MOST_USED = (
    ("data.path=FILE", "with data=text, json, csv or parquet: a file, a folder or a glob"),
    ("data.text_column=NAME", "which column holds the text"),
    ("tokenizer.vocab_size=4096", "entries of a tokenizer that is trained on the data"),
    ("model.dim=256 model.num_layers=6 model.num_heads=4", "the network's shape"),
    ("optim.lr=0.01", "the learning rate; with optim=muon that of hidden matrices, and optim.adamw_lr for the rest"),
    ("task.batch_size=16 task.seq_len=256", "rows in a batch, tokens in a row"),
    ("trainer.max_steps=5000", "when to stop; null: no limit"),
    ("trainer.max_minutes=30", "another limit, as are trainer.max_epochs and max_tokens; the first one reached counts"),
    ("trainer.accumulate_grad_batches=4", "batches in one optimizer step"),
    ("trainer.precision=bf16-mixed", "as Lightning's Trainer takes it; auto: bf16 where the device does it well"),
    ("trainer.threads=2", "threads on a CPU; null: as many as torch takes, fewer where others use the cores"),
    ("callbacks.monitor=val/bits_per_byte", "what the best checkpoint is the best of"),
    ("callbacks.patience=5", "stop after so many validations without a better one"),
    ("callbacks.save_every_n_steps=500", "more checkpoints than those at validations"),
    ("callbacks.norms_every_n_steps=100", "log norms of gradients and weights, layer by layer"),
    ("callbacks.system=true", "log what processor, memory and GPU do"),
    ("logger=[wandb,tensorboard,mlflow]", "one or several beside metrics.csv; logger=csv: none"),
    ("logger.wandb.project=NAME", "also logger.wandb.entity, group, mode and tables"),
)
_TRAIN_EXAMPLES = (
    ("", "the default run"),
    ("debug=fast", "one step of everything"),
    ("data=text data.path=my.txt", "your own text"),
    ("data=csv data.path='rows/*.csv' data.text_column=review", "a column of many files"),
    ("trainer.max_steps=null trainer.max_minutes=30", "half an hour, however many steps"),
    ("model=small optim.lr=0.01 task.batch_size=4", "a larger network, single settings"),
    ("tokenizer=byte task.seq_len=512", "no tokenizer to train"),
    ("optim=adamw optim.lr=1e-3 seed=2", "another optimizer, another seed"),
    ("-m optim.lr=0.005,0.01,0.02 seed=1,2", "a sweep: six runs"),
    ("resume=outputs/runs/NAME", "continue an interrupted run"),
)
_EVAL_EXAMPLES = (
    ("run=outputs/runs/NAME", "the scores that the training printed"),
    ("run=outputs/runs/NAME checkpoint=last", "the last weights instead of the best"),
    ("run=outputs/runs/NAME 'ensemble=[OTHER,THIRD]'", "the average of three runs"),
    ("run=outputs/runs/NAME stride=128", "overlapping windows: more context for each token"),
    ("run=outputs/runs/NAME task.batch_size=64", "faster; the scores stay"),
    ("run=outputs/runs/NAME data=text data.path=my.txt", "another text: the splits cut from it"),
    ("run=outputs/runs/NAME data.path=/new/place/my.txt", "the same data after it has moved"),
    ("run=outputs/runs/NAME to=scores.json", "the scores as JSON, too"),
    ("run=outputs/runs/NAME trainer.precision=32-true", "in full precision"),
    ("run=outputs/runs/NAME --cfg job", "print the config, score nothing"),
)
_FLAGS = (
    ("-m", "run once with each combination of the values that commas separate"),
    ("--cfg job", "print the composed config and stop; --resolve with its references followed"),
    ("--config-dir DIR", "add a folder of your own yamls: DIR/data/mine.yaml is data=mine"),
    ("--info defaults", "where each part of the config comes from"),
    ("-sc install=bash", 'print a script for shell completion: eval "$({command} -sc install=bash)"'),
    ("--help, --version", ""),
)
_ENDS = """\
Exit codes: 0 done; 1 a mistake, said in one or two lines; 130 (Ctrl-C) or 143 (SIGTERM) stopped{saved}.
HYDRA_FULL_ERROR=1 shows the traceback of any error.
"""
_SAVED = {"train": " after a checkpoint", "eval": ""}
_WHERE = {
    "train": "The run goes to outputs/runs/<date_time>-<task>-<model>/ under the current directory, a sweep to\n"
    'outputs/sweeps/<date_time>/<n>/. `manyheads runs` lists them, `manyheads generate run=FOLDER "..."` writes text,\n`manyheads predict run=FOLDER input=FILE` answers rows, `manyheads families` tells which choices fit each task.\n',
    "eval": "Nothing in the run folder changes. `manyheads runs` lists the runs.\n",
}
_WORDS = {"train": (_TRAIN, _MOST_USED, _TRAIN_EXAMPLES), "eval": (_EVAL, _SCORING, _EVAL_EXAMPLES)}
_EVAL_GROUPS = ("data", "task", "trainer")  # the others are what the run was

PROGRAM = """\
manyheads: experiments with language models on PyTorch Lightning and Hydra

Usage: manyheads VERB ...

  train       train a model; with no argument, a small one on Python's documentation
  eval        score a run's weights on its validation and test split
  predict     let a run's weights answer new rows
  generate    write text with a run's weights
  chat        talk with a run of task=chat
  families    tell which task goes with which head and which network
  model       tell what a network would cost: parameters, FLOPs, memory
  runs        list, compare and prune the runs on disk

manyheads VERB --help says more of each; manyheads --version names the version. python -m manyheads is the same.
Shell completion: eval "$(manyheads -sc install=bash)" (or zsh), manyheads -sc install=fish | source
"""


def page(verb: str, command: str, conf_dir: Path, more_dirs: Sequence[Path] = ()) -> str:
    """The help page of `train` or `eval`, at most 118 columns wide."""
    opening, settings, examples = _WORDS[verb]
    dirs = [conf_dir, *more_dirs]
    groups = choices(dirs)
    defaults = _defaults(conf_dir / "train.yaml")
    if verb == "eval":
        groups = {name: groups[name] for name in _EVAL_GROUPS if name in groups}
    order = [name for name in defaults if name in groups] + sorted(name for name in groups if name not in defaults)
    flags = [(flag, text.format(command=command)) for flag, text in _FLAGS]
    parts = [
        opening.format(command=command),
        "Groups and their choices" + (" (* the default):" if verb == "train" else ":"),
        _columns((name, _listed(groups[name], defaults.get(name) if verb == "train" else None)) for name in order),
        "Keys of the command itself:",
        _columns(root_keys(conf_dir / f"{verb}.yaml")),
        "The most used settings (--cfg job prints what the yamls name; config.yaml in a run folder holds every setting):",
        _columns(settings),
        "Examples:",
        _columns((f"{command} {words}".rstrip(), text) for words, text in examples),
        "Flags:",
        _columns(flags),
        _WHERE[verb] + _ENDS.format(saved=_SAVED[verb]),
    ]
    return "\n".join(parts)


def choices(dirs: Iterable[Path]) -> dict[str, list[str]]:
    """group -> its choices, over all folders of yamls; Hydra's own group and empty ones left out."""
    found: dict[str, set[str]] = {}
    for folder in dirs:
        for path in folder.glob("*/*.yaml"):
            if path.parent.name != "hydra":
                found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(names) for group, names in found.items()}


def root_keys(path: Path) -> list[tuple[str, str]]:
    """(`key=default`, its comment) for each plain key at the top of a yaml that has a comment or a default."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"([a-z_]+):\s*([^#\s][^#]*?)?\s*(?:#\s*(.*))?$", line)
        if match and match[1] not in ("defaults", "hydra") and match[2]:
            found.append((f"{match[1]}={match[2]}", match[3] or ""))
    return found


def _defaults(path: Path) -> dict[str, str]:
    """group -> the choice that the yaml's defaults list names."""
    text = ("\n" + path.read_text(encoding="utf-8")).partition("\ndefaults:")[2]
    found = re.findall(r"^\s+-\s+(?:optional\s+|override\s+)?(\w+):\s*(\S+)\s*$", text, re.MULTILINE)
    return dict(found)


def _listed(names: list[str], default: str | None) -> str:
    first = [f"{default}*"] if default in names else []
    return "  ".join(first + [name for name in names if name != default])


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    found = list(rows)
    width = min(WIDTH, max(_NARROWEST, shutil.get_terminal_size((WIDTH, 0)).columns))
    widest = max((len(left) for left, _ in found if len(left) <= _LEFT * width // WIDTH), default=0)
    lines = []
    for left, right in found:
        start = " " * _INDENT + left.ljust(widest) + "  "
        if len(left) > widest:
            lines.append(start.rstrip())
            start = " " * (_INDENT + widest + 2)
        wrapped = textwrap.wrap(right, width - _INDENT - widest - 2) or [""]
        lines.append((start + wrapped[0]).rstrip())
        lines += [" " * (_INDENT + widest + 2) + more for more in wrapped[1:]]
    return "\n".join(lines) + "\n"
