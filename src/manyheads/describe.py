"""The verb `model`: what a network would cost, told before anything is run and without reading data."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from manyheads.errors import EXIT_DONE, UserError, check_count, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.table import Table

HELP = """\
manyheads model: parameters, FLOPs and memory of a network, before anything is run.

usage: manyheads model [GROUP=CHOICE ...] [KEY=VALUE ...] [vocab_size=N] [--json] [--config-dir DIR]

Takes what `manyheads train` takes. No data is read and no weight is made: the network is built without memory.

  parameters    by part; a tied embedding counts once, as embedding. Active ones, those that a token uses, where fewer
  FLOPs         of one token in a row of task.seq_len (or the longest of another task): 2 for each weight of a matrix,
                the head's included, and for attention 4 x heads x width of a head x row length in each layer, masked
                or not; three times that in training (Kaplan et al. 2020, section 2.1; Chowdhery et al. 2022, appendix
                B). With an encoder before the decoder, of one token of the text and one of a source as long as it,
                here and below
  memory        weights, gradients and the state of the optimizer that optim names, exactly, in trainer.precision;
                activations estimated: what one forward pass over task.batch_size packed rows leaves for the backward
                pass, uncompiled. With trainer=gpu, here or not, attention counts as fused; a CPU's with dropout is not.
                Kernels need some room besides, and validating with averaged weights another copy of them
  KV cache      keys and values of task.batch_size texts of task.seq_len tokens, in float32, as `generate` keeps them;
                layers with a window keep all of them too. Of a recurrent network its states, whatever the length

keys of the command itself
  vocab_size=N             for a tokenizer whose vocabulary only the data tells; else tokenizer.vocab_size
  --json                   for programs: sizes in bytes
  --config-dir DIR         a folder of your own yamls: DIR/model/mine.yaml is model=mine

examples
  manyheads model
  manyheads model model=gpt2 tokenizer.vocab_size=50257 task.seq_len=1024 task.batch_size=8
  manyheads model model=small tokenizer=byte optim=adamw trainer.precision=bf16-true
  manyheads model model=small activation_checkpointing=1 task.batch_size=64
  manyheads model tokenizer=character vocab_size=96 --json
"""

_LENGTHS = ("seq_len", "max_tokens", "max_source_tokens", "max_target_tokens")
"""The settings by which tasks bound their rows."""

_ONE = {"batch_size": 1, "seq_len": 1}
_FLAGS = ("--json", "--config-dir", "--help")


class Memory(TypedDict):
    """Bytes that training takes."""

    weights: int
    gradients: int
    optimizer: int | None  # None: the optimizer cannot be tried without memory
    averages: int  # the second copy of the weights that callbacks.averaging keeps
    activations: int
    total: int


class Description(TypedDict):
    """What `manyheads model --json` prints."""

    model: str  # the choice
    optim: str
    vocab_size: int
    seq_len: int
    batch_size: int
    precision: str
    fused_attention: bool  # whether activations are counted as on a GPU
    parameters: dict[str, dict[str, int]]  # part, and "total" -> total, active
    flops_per_token: dict[str, int]  # forward, training, recomputed
    training_bytes: Memory
    kv_cache_bytes: dict[str, int] | None  # per_token, per_batch, or states; None: the network has no cache


def describe_main(argv: Sequence[str]) -> int:
    """The verb with its arguments; returns the exit code. Raises UserError."""
    words, flags = split_arguments(argv)
    if "--help" in flags:
        sys.stdout.write(HELP)
        return EXIT_DONE
    found = from_overrides(words, config_dir=flags.get("--config-dir"))
    if "--json" in flags:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _show(found)
    return EXIT_DONE


def split_arguments(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """(overrides, flags with their values). Raises UserError for a flag that is not there."""
    words, flags, rest = [], {}, list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        name = {"-h": "--help", "-cd": "--config-dir"}.get(name, name)
        if not name.startswith("-"):
            words.append(word)
        elif name not in _FLAGS or (equals and name != "--config-dir"):
            raise UserError(
                f"{word}: model has no flag {name}.{did_you_mean(name, _FLAGS)} Settings are written KEY=VALUE; "
                "`manyheads model --help` shows how it is called."
            )
        elif name == "--config-dir" and not equals:
            if not rest:
                raise UserError("--config-dir names no folder: add one, --config-dir DIR.")
            flags[name] = rest.pop(0)
        else:
            flags[name] = value
    return words, flags


def from_overrides(words: Sequence[str] = (), *, config_dir: str | None = None) -> Description:
    """What `manyheads model WORDS` tells, as numbers. Raises UserError."""
    from manyheads.build import CONF_DIR
    from manyheads.run.base import base_of
    from manyheads.run.compose import compose

    given = [word for word in words if word.startswith("vocab_size=")]
    words = [word for word in words if word not in given]
    vocab_size = _number(given[-1]) if given else None
    composed = compose("train", words, CONF_DIR, base_of(words, "resume"), config_dir)
    return describe(composed.config, composed.choices, vocab_size)


def describe(cfg: DictConfig, choices: dict[str, str], vocab_size: int | None = None) -> Description:
    """The costs of the network that a config describes. Raises UserError for a config that could not be trained."""
    import torch
    from torch import nn

    from manyheads import compatibility
    from manyheads.build import build, complete
    from manyheads.members import check_settings_of, check_single_task
    from manyheads.model import memory, parts, regions
    from manyheads.rebuild import assemble
    from manyheads.run.root import check_root
    from manyheads.trainer import check_precision, choose_precision, is_on_gpu

    check_root(cfg)
    allow, every = list(cfg.allow), cfg.get("activation_checkpointing")
    check_settings_of(cfg, allow)
    cfg = complete(cfg, allow)
    compatibility.check(cfg, choices, allow)
    check_single_task(cfg)
    check_count("task.batch_size", cfg.task.batch_size)
    check_precision(cfg.trainer.precision)
    vocab_size = vocab_size or find_vocabulary(cfg, choices, allow)
    precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    weights, autocast = memory.dtypes(precision)

    fused = is_on_gpu(cfg.trainer.accelerator)

    def make() -> tuple[Any, Any]:
        return assemble(cfg, vocab_size, allow)

    with torch.device("meta"):
        network, head = memory.in_dtype(weights, make)
    if every:
        regions.recompute_blocks(network, every)
    whole = nn.ModuleDict({"network": network, "head": head})
    shape = {"batch_size": cfg.task.batch_size, "seq_len": max(cfg.task[key] for key in _LENGTHS if key in cfg.task)}
    counts = parts.count_parameters(whole)
    taken: dict[str, Any] = {
        "weights": memory.weight_bytes(whole),
        "gradients": memory.weight_bytes(whole, trained=True),
        "optimizer": memory.optimizer_bytes(whole, functools.partial(build, cfg.optim, "optim", allow=allow)),
        "averages": memory.weight_bytes(whole, trained=True) if cfg.callbacks.get("averaging") else 0,
        "activations": memory.activation_bytes(
            make, **shape, weights=weights, autocast=autocast, recompute_every=every, fused=fused
        ),
    }
    cache = {name: memory.cache_bytes(make, **size) for name, size in (("per_token", _ONE), ("per_batch", shape))}
    return Description(
        model=choices.get("model", "custom"),
        optim=choices.get("optim", "custom"),
        vocab_size=vocab_size,
        **shape,
        precision=precision,
        fused_attention=fused,
        parameters={part: count._asdict() for part, count in counts.items()} | {"total": _sum(counts.values())},
        flops_per_token=parts.count_flops(whole, shape["seq_len"])._asdict(),
        training_bytes=Memory(**taken, total=sum(value or 0 for value in taken.values())),
        kv_cache_bytes=None if None in cache.values() else cache,  # type: ignore[typeddict-item]
    )


def find_vocabulary(cfg: DictConfig, choices: dict[str, str], allow: Iterable[str] = ()) -> int:
    """The size of the vocabulary: what the tokenizer's `vocab_size` says, else that of a tokenizer which needs no data.

    Raises UserError when only the data tells.
    """
    from manyheads.build import build
    from manyheads.data.source import Source

    class Unread(Source):
        """Stands for data that is not read."""

        def __init__(self) -> None:
            super().__init__(name="unread", join_rows=False, validation_fraction=0.05)

        @property
        def fingerprint(self) -> str:
            raise _unknown(choices)

        @property
        def given(self) -> tuple[str, ...]:
            raise _unknown(choices)

        def load(self, split: str) -> Any:
            raise _unknown(choices)

    size = cfg.tokenizer.get("vocab_size")
    if size is not None:
        check_count("tokenizer.vocab_size", size)
        return size
    return build(cfg.tokenizer, "tokenizer", allow=allow, source=Unread()).vocab_size


def _unknown(choices: dict[str, str]) -> UserError:
    return UserError(
        f"tokenizer={choices.get('tokenizer', 'custom')}: only the data tells its vocabulary, and none is read here. "
        "Add vocab_size=N."
    )


def _number(word: str) -> int:
    value = word.partition("=")[2]
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"{word}: set a whole number of at least 1.")
    return int(value)


def _sum(counts: Iterable[Any]) -> dict[str, int]:
    found = list(counts)
    return {"total": sum(count.total for count in found), "active": sum(count.active for count in found)}


def _show(found: Description) -> None:
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 118)
    console.print(
        f"{found['model']}, vocabulary of {found['vocab_size']:,}, {found['batch_size']} rows of {found['seq_len']:,} "
        f"tokens, {found['precision']}\n",
        markup=False,
    )
    counts = "It counts: what it keeps grows with the text that it reads, and a run tells how much that was."
    for table in tables(found) if found["parameters"]["total"]["total"] else [counts]:
        console.print(table)
        console.print()


def tables(found: Description) -> list[Table]:
    """Parameters, FLOPs, memory and cache, a table each."""
    from manyheads.run.table import size_text

    counts, flops = found["parameters"], found["flops_per_token"]
    whole = counts["total"]
    sparse = whole["active"] != whole["total"]
    made = [_table("parameters", "", *(["active"] if sparse else []), "share")]
    for part, count in counts.items():
        active = [f"{count['active']:,}"] if sparse else []
        made[0].add_row(part, f"{count['total']:,}", *active, f"{count['total'] / whole['total']:.1%}")
    made.append(_table("FLOPs per token", ""))
    for name, number in flops.items():
        if number:
            made[1].add_row(name, f"{number:,}")
    made.append(_table("memory in training", "", ""))
    taken = found["training_bytes"]
    place = "with a GPU's fused attention" if found["fused_attention"] else "on a CPU"
    remarks = {"optimizer": found["optim"], "activations": f"estimated: as left {place}"}
    for name, size in taken.items():
        if size != 0:
            made[2].add_row(name, "unknown" if size is None else size_text(size), remarks.get(name, ""))  # type: ignore[arg-type]
    cache = found["kv_cache_bytes"]
    if cache is not None:
        grows = cache["per_batch"] > found["batch_size"] * cache["per_token"]
        made.append(_table("KV cache" if grows else "states in decoding", ""))
        made[3].add_row("a token" if grows else "a text", size_text(cache["per_token"]))
        rows = f"{found['batch_size']} x {found['seq_len']:,} tokens" if grows else f"{found['batch_size']} texts"
        made[3].add_row(rows, size_text(cache["per_batch"]))
    return made


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="bold")
    table.add_column(title, min_width=24)
    for column in columns:
        table.add_column(column, justify="right")
    return table
