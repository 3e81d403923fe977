"""The verb `predict`: what a trained model says of new rows, as JSON lines."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from manyheads.errors import EXIT_DONE, UserError, out_of_memory, written

if TYPE_CHECKING:
    from manyheads.data.given import Given
    from manyheads.load import LoadedLM

HELP = """\
manyheads predict: let a trained model answer new rows.

usage: manyheads predict run=FOLDER input=FILE [to=FILE] [KEY=VALUE ...]

A row has the columns that the run's task reads; the column of what it should say may be missing. The answers are
JSON lines in the order of the rows: id (the row's number), input, output, of classes their probabilities, and where
the row has a target, target, loss and score. A run of task=generation writes nothing: its lines have loss, tokens,
bytes and bits_per_byte of each text. A run of task=masked fills the masks of each text, written as task.mask_token
(<|mask|>): output is the filled text, masks the likeliest tokens of each. A run of task=denoising writes the text
anew from one with masks (<|mask|>). A run of task=word_vectors tells the words nearest to a word, or to the mean of
several. Defaults are in parentheses.

where from
  run=FOLDER               a run folder (`manyheads runs` lists them) or a checkpoint file
  checkpoint=NAME          best, last or another file of its checkpoints/ (best, or last where there is none)
  device=NAME              cpu, cuda, ... (an accelerator if there is one)
  member=NAME              of a run of several tasks (task=mixture), the one that is asked; settings are those of
                           task.members.NAME
  ensemble=[RUN,...]       other runs of the same tokenizer and head: the probabilities of all are averaged
  allow=[MODULE,...]       modules outside manyheads that the run's config may build from; trust them first
in and out
  input=FILE               rows: .jsonl, .json, .csv, .parquet, or .txt with a row on each line
  input=-                  JSON lines from stdin
  input.FIELD=VALUE        one row, field by field
  to=FILE                  where the answers go; - is stdout (stdout)
how
  data.columns.FIELD=COLUMN
                           what the task's fields are called in the rows (as in training); data.text_column=NAME;
                           of a member with data of its own task.members.NAME.data.columns.FIELD=COLUMN
  data.encoding=NAME, data.delimiter=SIGN
                           of text and CSV files
  task.eval_batch_size=N   rows that are read side by side; changes the speed
  task.num_beams=N         and what else the task has for its answers

examples
  manyheads predict run=outputs/runs/NAME input=rows.jsonl to=answers.jsonl
  manyheads predict run=NAME 'input.text="Is the file open?"'
  manyheads predict run=NAME 'input.text="The file is <|mask|>."' task.top_k=3
  manyheads predict run=NAME input.text=king task.neighbours=5
  manyheads predict run=NAME input=rows.csv data.columns.source=de task.num_beams=1
  cat rows.jsonl | manyheads predict run=NAME input=- > answers.jsonl

Values follow Hydra's grammar: put quotes inside the shell's around one with a space or a special character.
"""

_MAY_CHANGE = (
    "task",
    "data",
    "run",
    "checkpoint",
    "device",
    "member",
    "ensemble",
    "input",
    "to",
    "allow",
    "name",
    "tags",
)
_FIELD = re.compile(r"(input|(task\.members\.\w+\.)?data\.columns)\.[A-Za-z_]")
"""What need not be there to be set: null stands in its place."""


def predict_main(argv: Sequence[str]) -> int:
    """The verb with its arguments; returns the exit code. Raises UserError."""
    if {"-h", "--help"} & set(argv):
        sys.stdout.write(HELP)
        return EXIT_DONE
    from manyheads.build import CONF_DIR
    from manyheads.run.base import base_of, setting
    from manyheads.run.compose import hydra_main

    if setting(argv, "run") is None:
        from manyheads.run.find import run_not_set

        raise run_not_set()
    words = [f"++{word}" if _FIELD.match(word) else word for word in argv]
    hydra_main("predict", words, CONF_DIR, lambda cfg, folder, choices: predict(cfg), base_of(argv, "run"))
    return EXIT_DONE


def predict(cfg: DictConfig) -> None:
    """Writes what the run `cfg.run` says of the rows of `cfg.input`, which is a run's own config with the keys of
    conf/predict.yaml. Raises UserError, before the model is loaded where that is possible."""
    from manyheads.build import check_tree
    from manyheads.load import load
    from manyheads.members import member_of
    from manyheads.run.output import STDOUT, Output
    from manyheads.run.root import check_root
    from manyheads.threads import set_threads

    check_root(cfg)
    _check_used(cfg)
    asked = member_of(cfg, cfg.member, "predict")
    check_tree(OmegaConf.masked_copy(asked, ["task"]), cfg.allow)
    out = Output(STDOUT if cfg.to is None else str(cfg.to), "to", "answers.jsonl")
    set_threads()
    with tempfile.TemporaryDirectory(prefix="manyheads-") as folder, out_of_memory("Lower task.eval_batch_size."):
        rows = read_input(asked, Path(folder))
        how = {key: cfg[key] for key in ("checkpoint", "device", "allow", "member", "ensemble")}
        lm = load(cfg.run, **how)
        count = _write(out, lm, rows, asked)
    for note in lm.notes:
        sys.stderr.write(f"note: {note}\n")
    if not out.is_stdout:
        sys.stdout.write(f"{count} answers in {out.path}\n")


def read_input(cfg: DictConfig, folder: Path) -> Given:
    """The rows that `cfg.input` means; those of a file are laid down in `folder`. Raises UserError."""
    from manyheads.build import target_of
    from manyheads.data.given import columns_of, given_file, given_rows, json_rows
    from manyheads.run.output import STDOUT

    asked: Any = cfg.input
    settings = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(settings, dict)
    data = {str(key): value for key, value in settings.items()}
    columns = columns_of(data)
    if OmegaConf.is_config(asked):
        row: Any = OmegaConf.to_container(asked, resolve=True)
        return given_rows([row], columns, "input")
    if asked is None:
        raise UserError("input is not set: set input=FILE, input=- for JSON lines from stdin, or input.FIELD=VALUE.")
    if asked == STDOUT:
        return given_rows(json_rows(sys.stdin, "input=-"), columns, "input=-")
    task: Any = target_of(cfg.task, "task", cfg.allow)
    reading = {key: data[key] for key in ("encoding", "delimiter") if key in data}
    return given_file(Path(str(asked)).expanduser(), columns, folder, text_field=task.asked.required[0], **reading)


def _write(out: Any, lm: LoadedLM, rows: Given, cfg: DictConfig) -> int:
    """Writes the answers, and returns how many there are."""
    count = 0
    answers = lm.answers(rows, cfg)
    with out.open() as file:
        for line in answers:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    return count


def _check_used(cfg: DictConfig) -> None:
    """Raises UserError for an override that would count for nothing."""
    from manyheads.run.checkpoint import read_run_config

    before, _ = read_run_config(cfg.run, "run")
    for key in (str(key) for key in cfg):
        now, then = (_plain(config, key) for config in (cfg, before))
        if key not in _MAY_CHANGE and now != then:
            said = key if isinstance(now, dict) else f"{key}={written(now)}"
            raise UserError(f"{said}: predict takes the weights of run={cfg.run} as they are. Leave {key} out.")


def _plain(cfg: DictConfig, key: str) -> Any:
    value = cfg.get(key)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
