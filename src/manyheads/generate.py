"""The verb `generate`: texts from a trained model, on the screen or as JSON lines."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import EXIT_DONE, UserError, did_you_mean, out_of_memory

if TYPE_CHECKING:
    from manyheads.load import LoadedLM
    from manyheads.run.output import Output

HELP = """\
manyheads generate: let a trained model write.

usage: manyheads generate run=FOLDER [KEY=VALUE ...] ["PROMPT" ...]

Each argument that is no KEY=VALUE is a prompt of its own: put quotes around it. What comes after -- is a prompt
whatever it looks like. Without a prompt the model starts a new text. The screen shows the prompt and what follows it.
A prompt of an encoder-decoder is its source, and what it writes stands on a new line. A run that writes no text is
asked with `manyheads predict`. Defaults are in parentheses.

where from
  run=FOLDER               a run folder (`manyheads runs` lists them) or a checkpoint file
  checkpoint=NAME          best, last or another file of its checkpoints/ (best, or last where there is none)
  device=NAME              cpu, cuda, ... (an accelerator if there is one)
  member=NAME              of a run of several tasks (task=mixture), the one that is asked
  ensemble=[RUN,...]       other runs of the same tokenizer and head: the probabilities of all are averaged
  allow=[MODULE,...]       modules outside manyheads that the run's config may build from; trust them first
how the next token is chosen, in this order
  no_repeat_ngram=N        none that would make N tokens in a row appear twice; 0: any (0)
  repetition_penalty=X     above 1: tokens that are there already become less likely (1)
  temperature=X            below 1: surer, above 1: more varied, 0: always the likeliest token (0.8)
  top_k=N                  only the N likeliest tokens
  top_p=P                  only the likeliest tokens that make up the share P of the probability
  min_p=P                  only tokens at least P times as likely as the likeliest
  seed=N                   the same seed gives the same text (1)
or a search for the likeliest text, without temperature and what follows it
  num_beams=N              the best N beginnings are kept at each step; 1: no search (1)
  length_penalty=X         texts are compared by log-probability / length^X; higher prefers longer ones (1)
  early_stopping=X         ends with N texts: true, false (no better one is likely) or never (none is possible) (false)
of texts of one form alone
  choices=[TEXT,...]       the text is one of these
  regex=TEXT               the text matches this regular expression as a whole (needs pip install llguidance)
how much
  max_new_tokens=N         at most so many tokens after the prompt (100)
  stop=TEXT, [TEXT,...]    ends a text before the first of these; \\n and \\t stand for a line break and a tab
  num_samples=N            so many texts for each prompt, of a search the best (1)
  context=N                the most tokens that are read at once; of longer texts, the latest (as many as in training)
  batch_size=N             texts that are written side by side; changes the speed, not the texts (16)
in and out
  input=FILE               prompts from a file: one on each line, or with the ending .jsonl {"prompt": ...} on each line
  to=FILE                  texts as JSON lines: prompt, sample, text, tokens, finish (end, stop or length), of a search
                           score (log-probability / length^length_penalty, in nats); - is stdout

examples
  manyheads generate run=outputs/runs/NAME "Return the number of"
  manyheads generate run=NAME temperature=0 max_new_tokens=40 "Return the"
  manyheads generate run=NAME top_p=0.9 num_samples=3 'stop="\\n\\n"' "The argument"
  manyheads generate run=NAME num_beams=4 num_samples=4 to=texts.jsonl "Return the"
  manyheads generate run=NAME 'choices=["yes","no"]' "Is it there? "
  manyheads generate run=NAME 'regex="[0-9]+ items"' "It returns "
  manyheads generate run=NAME input=prompts.txt to=texts.jsonl
  manyheads generate run=NAME -- "x=1 is a prompt here"

Values follow Hydra's grammar: put quotes inside the shell's around one with a space or a special character,
such as 'run="my runs/first"'.
"""

OPTION = re.compile(r"(\+\+?|~)?[A-Za-z_][\w.@/]*=")
_TEXTS = ("run", "checkpoint", "device", "member", "input", "to", "system")  # a folder may be named 2026
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def generate_main(argv: Sequence[str]) -> int:
    """The verb with its arguments; returns the exit code. Raises UserError."""
    overrides, prompts, wants_help = split_arguments(argv)
    if wants_help:
        sys.stdout.write(HELP)
        return EXIT_DONE
    generate(prompts, **read_settings(overrides))
    return EXIT_DONE


def generate(
    prompts: Sequence[str] = (),
    *,
    run: str | Path,
    checkpoint: str | None = None,
    device: str | None = None,
    allow: Iterable[str] = (),
    member: str | None = None,
    ensemble: str | Sequence[str] = (),
    input: str | Path | None = None,
    to: str | Path | None = None,
    **options: Any,
) -> None:
    """Writes texts to the screen, or as JSON lines to `to`: a file, a pipe or a device, or "-" for stdout.

    One text is shown as it comes; several are shown in order, each under a line that says which it is. `options` are
    those of `LoadedLM.generate`. Raises UserError, before the model is loaded where that is possible.
    """
    from manyheads.run.output import Output

    prompts = [*prompts, *(read_prompts(Path(input)) if input is not None else [])]
    if not prompts:
        prompts = [""]
    out = None if to is None else Output(to, "to", "texts.jsonl")
    if isinstance(options.get("stop"), str):
        options["stop"] = [options["stop"]]
    _check_options(options)
    from manyheads.load import load
    from manyheads.threads import set_threads

    set_threads()
    with out_of_memory("Lower batch_size, context or max_new_tokens."):
        lm = load(run, checkpoint=checkpoint, device=device, allow=allow, member=member, ensemble=ensemble)
        _check_writable(lm, options)
        between = "\n" if lm.reads_source() else ""
        _tell_long_prompts(lm, prompts, options.get("context"))
        if out is not None:
            _write_lines(out, lm, prompts, options)
        elif len(prompts) == 1 and options.get("num_samples", 1) == 1:
            options.pop("num_samples", None)
            _show_pieces([prompts[0], between], lm.stream(prompts[0], **options))
        else:
            for sample in lm.samples(prompts, **options):
                number = f"prompt {sample.place + 1} of {len(prompts)}, " if len(prompts) > 1 else ""
                sys.stdout.write(f"--- {number}sample {sample.sample + 1} of {options.get('num_samples', 1)} ---\n")
                _show_pieces([sample.prompt, between], [sample.text])


def split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str], bool]:
    """(options as KEY=VALUE, prompts, whether help is wanted). Raises UserError for a flag that is not there."""
    arguments, literal = list(argv), []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, literal = arguments[:at], arguments[at + 1 :]
    overrides = [argument for argument in arguments if OPTION.match(argument)]
    others = [argument for argument in arguments if not OPTION.match(argument)]
    if "-h" in others or "--help" in others:
        return [], [], True
    for argument in others:
        if re.match(r"-{1,2}[A-Za-z]", argument):
            raise UserError(
                f"{argument} is no flag of generate: options are KEY=VALUE, see `manyheads generate --help`.\n"
                f"If it is a prompt, put -- before it."
            )
    return overrides, [*others, *literal], False


def read_settings(
    overrides: Sequence[str], verb: str = "generate", hint: str = "\nIf it is a prompt, put -- before it."
) -> dict[str, Any]:
    """The keyword arguments of a verb from KEY=VALUE in Hydra's grammar over conf/<verb>.yaml; unset ones left out.

    Raises UserError for a key that is not there (with the nearest and the hint) and for a value that Hydra cannot read.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from manyheads.build import CONF_DIR

    keys = [str(key) for key in OmegaConf.load(CONF_DIR / f"{verb}.yaml")]
    settings: dict[str, Any] = {}
    with initialize_config_dir(str(CONF_DIR.resolve()), version_base="1.3"):
        for override in overrides:
            key = override.partition("=")[0]
            if key not in keys:
                raise UserError(
                    f"{override}: {verb} has no key {key}.{did_you_mean(key, keys)} See `manyheads {verb} --help`.{hint}"
                )
            try:
                settings[key] = _plain(compose(verb, [override])[key])
            except (HydraException, OmegaConfBaseException) as error:
                raise UserError(
                    f"{override}: this is not one value in Hydra's grammar. Put quotes inside the shell's around a value "
                    f"""with special characters: '{key}="..."'."""
                ) from error
    if settings.get("run") is None:
        from manyheads.run.find import run_not_set

        raise run_not_set()
    settings |= {key: str(settings[key]) for key in _TEXTS if settings.get(key) is not None}
    if "stop" in settings:
        settings["stop"] = _unescaped(settings["stop"])
    return {key: value for key, value in settings.items() if value is not None}


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file: each line that is not blank, or the "prompt" of each line of a .jsonl. Raises UserError."""
    try:
        content = path.expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"input={path} is not UTF-8 at byte {error.start}: save it as UTF-8.") from error
    except OSError as error:
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"input={path} cannot be read: {error.strerror}.{did_you_mean(path.name, names)}") from error
    # splitlines() would also split at characters that are no line's end in a text file
    lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    if not lines:
        raise UserError(f"input={path} is empty: put a prompt on each line.")
    if path.suffix == ".jsonl":
        return [_prompt_of(line, number, path) for number, line in lines]
    return [line.removesuffix("\r") for _, line in lines]


def _prompt_of(line: str, number: int, path: Path) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"input={path}, line {number} is no JSON: {error.msg} at column {error.colno}.") from error
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise UserError(
            f'input={path}, line {number} has no text under "prompt": write {{"prompt": "..."}} on each line.'
        )
    return row["prompt"]


def _check_options(options: dict[str, Any]) -> None:
    from manyheads.decoding.options import Options

    known = Options.__dataclass_fields__
    for name in options:
        if name not in known:
            raise UserError(f"{name} is no option of generate.{did_you_mean(name, known)}")
    Options(**options)


def _check_writable(lm: LoadedLM, options: dict[str, Any]) -> None:
    """Before a prompt is on the screen."""
    from manyheads.decoding.options import Options

    Options(**options).constraint(lm.tokenizer)


def _tell_long_prompts(lm: LoadedLM, prompts: Sequence[str], context: int | None) -> None:
    from manyheads.decoding.text import encode

    most, part = context or lm.context, "end"
    longest = (most or math.inf) - 1  # the end token that stands before a text is read too
    if lm.reads_source():
        most, part = lm.config.task.get("max_source_tokens"), "beginning"
        longest = most or math.inf
    too_long = [i for i, prompt in enumerate(prompts, 1) if len(encode(lm.tokenizer, prompt)) > longest]
    if too_long:
        which = "the prompt is" if len(prompts) == 1 else f"{len(too_long)} prompts (the first: {too_long[0]}) are"
        sys.stderr.write(
            f"note: {which} longer than the {most} tokens that are read at once: only the {part} is read.\n"
        )


def _write_lines(out: Output, lm: LoadedLM, prompts: Sequence[str], options: dict[str, Any]) -> None:
    count = 0
    with out.open() as file:
        for sample in lm.samples(prompts, **options):
            row = {name: getattr(sample, name) for name in ("prompt", "sample", "text", "tokens", "finish")}
            row |= {} if sample.score is None else {"score": sample.score}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            count += 1
    if not out.is_stdout:
        sys.stdout.write(f"{count} texts in {out.path}\n")


def _show_pieces(*groups: Iterable[str]) -> None:
    terminal = sys.stdout.isatty()
    for group in groups:
        for piece in group:
            # bytes that a model draws must not steer the terminal
            sys.stdout.write(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", piece) if terminal else piece)
            sys.stdout.flush()
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _unescaped(value: Any) -> Any:
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    return re.sub(r"\\[nt\\]", lambda found: _ESCAPES[found[0]], value) if isinstance(value, str) else value
