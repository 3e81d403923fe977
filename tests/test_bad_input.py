"""Guards: a mistake that costs a traceback, a long wait or a folder that looks whole, instead of two lines that say what
to set. One row for each fault that a user can make."""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Fault:
    """One mistake.

    Attributes:
        id: what is wrong.
        words: the command line. {corpus} is a folder of good data, {run} a copy of an interrupted run.
        says: what stderr must match: the key, its value, what to set.
        make: plants the fault in the current folder, or in the copy of the run.
        within: holds while the command runs.
        failed: the run had begun: its folder stays, and says so.
    """

    id: str
    words: str
    says: str
    make: Callable[[Path], None] | None = None
    within: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    failed: bool = False


# what plants a fault


def file(name: str, content: str | bytes) -> Callable[[Path], None]:
    def make(_: Path) -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def folder_with(test: str) -> Callable[[Path], None]:
    """Good training and validation texts, and a test split that holds `test`."""

    def make(_: Path) -> None:
        rows = "".join(json.dumps({"text": f"text {i}"}) + "\n" for i in range(20))
        for split, content in (("train", rows), ("validation", rows), ("test", test)):
            file(f"data/{split}.jsonl", content)(_)

    return make


def closed(name: str) -> Callable[[Path], None]:
    """A file that nobody may read."""

    def make(_: Path) -> None:
        file(name, "text\n" * 50)(_)
        Path(name).chmod(0)

    return make


def checkpoint(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Changes what last.ckpt of the run holds."""

    def make(run: Path) -> None:
        import torch

        path = run / "checkpoints" / "last.ckpt"
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return make


def without(*keys: str) -> Callable[[Path], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return checkpoint(change)


def instead(name: str, content: bytes) -> Callable[[Path], None]:
    """Another content for a file of the run."""
    return lambda run: (run / name).write_bytes(content) and None


def cut_off(run: Path) -> None:
    path = run / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_tokenizer(content: dict[str, Any]) -> None:
    record = content["manyheads"]
    record["config"] = re.sub(r"^tokenizer:\n(  .*\n)+", "", record["config"], flags=re.MULTILINE)


def finished(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    results["run"]["status"] = "done"
    (run / "results.json").write_text(json.dumps(results))


def infinite(run: Path) -> None:
    checkpoint(lambda content: content["state_dict"]["network.embedding.weight"].fill_(float("inf")))(run)


# what holds while a command runs


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def bound_by_rights() -> Iterator[None]:
    """File permissions count for root too: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capabilities(7)) are given up."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root cannot give up its rights here")
    system, header, data = ctypes.CDLL(None), _Header(0x20080522, 0), (_Data * 2)()
    system.capget(ctypes.byref(header), data)
    before = data[0].effective
    data[0].effective = before & ~0b110
    system.capset(ctypes.byref(header), data)
    try:
        yield
    finally:
        data[0].effective = before
        system.capset(ctypes.byref(header), data)


def read_only(*names: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Folders that cannot be written."""

    @contextlib.contextmanager
    def within() -> Iterator[None]:
        for name in names:
            Path(name).mkdir(parents=True, exist_ok=True)
            Path(name).chmod(0o555)
        try:
            with bound_by_rights():
                yield
        finally:
            for name in names:
                Path(name).chmod(0o755)

    return within


def on_disk(options: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The current folder is a file system of its own."""

    @contextlib.contextmanager
    def within() -> Iterator[None]:
        here, disk = Path.cwd(), Path("disk").absolute()
        disk.mkdir()
        tried = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True)
        if tried.returncode:
            pytest.skip(f"cannot mount here: {tried.stderr.decode().strip()}")
        try:
            os.chdir(disk)
            yield
        finally:
            os.chdir(here)
            subprocess.run(["umount", str(disk)], check=True)

    return within


def cache_on_disk(options: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def within() -> Iterator[None]:
        with on_disk(options)(), environment(MANYHEADS_CACHE=os.getcwd())():
            yield

    return within


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 100,000 bytes, as after `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def environment(**values: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def within() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in values.items():
                patch.setenv(name, value)
            yield

    return within


@contextlib.contextmanager
def no_gpu() -> Iterator[None]:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    yield


BASE = "train data=json data.path={corpus} tokenizer=byte logger=csv "
BLIND = "train data=json data.path=nowhere/at/all.jsonl tokenizer=byte logger=csv "
"""What is wrong with other keys is told before data is looked for."""
SMALL = "model.dim=16 model.num_layers=1 task.batch_size=4 task.seq_len=32 trainer.max_steps=6 callbacks.samples=0 "
RESUME, EVAL, GENERATE = "train resume={run} ", "eval run={run} checkpoint=last ", "generate run={run} checkpoint=last "

NAMES = [
    Fault("group misspelt", BLIND + "modle=small", r"modle=small: there is no .*'modle'.* Did you mean 'model'"),
    Fault("group of a key misspelt", BLIND + "modle.dim=8", r"modle\.dim=8: .* Did you mean model\.dim\?"),
    Fault("key misspelt", BLIND + "model.dmi=8", r"model\.dmi=8: model has no setting 'dmi'\. Did you mean 'dim'\?"),
    Fault("root key misspelt", BLIND + "sead=2", r"sead=2: there is no key 'sead'\. Did you mean 'seed'"),
    Fault("choice misspelt", BLIND + "model=tny", r"model=tny: .* Did you mean 'tiny'\?\nChoices of model: bert, "),
    Fault("value misspelt", BLIND + "optim.schedule=cosin", r"optim\.schedule=cosin: set one of cosine, linear, con"),
    Fault(
        "metric misspelt", BLIND + "callbacks.monitor=val/bpb", r"monitor=val/bpb .*Did you mean 'val/bits_per_byte'"
    ),
    Fault(
        "verb misspelt", "trian", r"trian: there is no such verb\. Did you mean 'train'\? The verbs are train, eval, "
    ),
    Fault("no verb", "", r"name a verb: train, eval, predict, generate, chat, families, model, runs"),
    Fault("flag misspelt", "train --multirn", r"--multirn: train has no flag --multirn\. Did you mean --multirun\?"),
    Fault("no setting", BLIND + "small", r"'small' is not a setting\. Write KEY=VALUE"),
    Fault("several values", BLIND + "seed=1,2", r"seed=1,2: several values for one setting\. Add -m"),
    Fault(
        "group taken out and set",
        BLIND + "~model model.dim=16",
        r"model\.dim=16: ~model takes model out of the config\.",
    ),
    Fault(
        "setting of a group without a choice",
        BLIND + "debug.x=1",
        r"debug\.x=1: no choice of debug is made\. Add debug=",
    ),
    Fault("key of eval misspelt", EVAL + "strid=8", r"strid=8: there is no key 'strid'\. Did you mean 'stride'\?"),
    Fault("key of generate misspelt", GENERATE + "temprature=1", r"temprature=1: .*Did you mean 'temperature'\?"),
    Fault("sort of runs misspelt", "runs {outputs} --sort val/bpb", r"val/bpb: .*Did you mean 'val/bits_per_byte'\?"),
]

TYPES = [
    Fault("text for a count", BLIND + "model.dim=wide", r"model\.dim=wide: set a whole number\."),
    Fault(
        "whole number in another notation",
        BLIND + "task.batch_size=1e1",
        r"task\.batch_size=10\.0: set a whole number, written 10\.",
    ),
    Fault("fraction for a count", BLIND + "task.batch_size=2.5", r"task\.batch_size=2\.5: set a whole number\."),
    Fault("text for a number", BLIND + "optim.lr=fast", r"optim\.lr=fast: set a number\."),
    Fault("number for a switch", BLIND + "task.pack=3", r"task\.pack=3: set true or false\."),
    Fault("text for a switch", BLIND + "compile=maybe", r"compile=maybe: set true or false\."),
    Fault("text for the seed", BLIND + "seed=abc", r"seed=abc: set a whole number\."),
    Fault("text for a list", BLIND + "tags=abc", r"tags=abc: set a list"),
    Fault("text for allow", BLIND + "allow=os", r"allow=os: set a list"),
    Fault("null for a number", BLIND + "optim.lr=null", r"optim\.lr=null: set a number\."),
    Fault("switch for a number", BLIND + "optim.lr=true", r"optim\.lr=true: set a number\."),
    Fault("list for a folder", BLIND + "init=[a]", r"init=\['a'\]: set a text or null\."),
    Fault("word for devices", BLIND + "trainer.devices=two", r"trainer\.devices=two .*should be an int"),
    Fault("text for a count of generate", GENERATE + "top_k=many", r"top_k=many: set a whole number of at least 1"),
    Fault("text for a key of eval", EVAL + "stride=abc", r"stride=abc: set a whole number or null"),
]

RANGES = [
    Fault("seed below 0", BLIND + "seed=-1", r"seed=-1: set a number from 0 to 4294967295\."),
    Fault("rate below 0", BLIND + "optim.lr=-1", r"optim\.lr=-1: set a number of at least 0\."),
    Fault("rate not a number", BLIND + "optim.lr=nan", r"optim\.lr=nan: set a number\."),
    Fault("no steps", BLIND + "trainer.max_steps=0", r"trainer\.max_steps=0: set a .*number of at least 1\."),
    Fault("no end", BLIND + "trainer.max_steps=null", r"trainer\.max_steps=null: the run would never end\. Set "),
    Fault("no layers", BLIND + "model.num_layers=0", r"model\.num_layers=0: set a whole number of at least 1\."),
    Fault("dropout of 1.5", BLIND + "model.dropout=1.5", r"model\.dropout=1\.5: set a number from 0 to less than 1\."),
    Fault("batch of 0", BASE + "task.batch_size=0", r"task\.batch_size=0: set a .*number of at least 1\."),
    Fault("rows of 0", BASE + "task.seq_len=0", r"task\.seq_len=0: set a .*number of at least 1\."),
    Fault(
        "half for validation", BLIND + "data.validation_fraction=0.7", r"validation_fraction=0\.7: set a number above"
    ),
    Fault(
        "share above 1", BLIND + "trainer.limit_val_batches=1.5", r"limit_val_batches=1\.5: set a number from 0 to 1"
    ),
    Fault("no patience", BASE + "callbacks.patience=0", r"callbacks\.patience=0: set a whole number of at least 1\."),
    Fault("unknown precision", BLIND + "trainer.precision=bf17", r"precision=bf17 is not one of .*Did you mean 'bf16'"),
    Fault("unknown strategy", BLIND + "trainer.strategy=dpd", r"strategy=dpd is no strategy .*Did you mean 'ddp'"),
    Fault("unknown accelerator", BLIND + "trainer.accelerator=quantum", r"accelerator=quantum is not one of auto, gpu"),
    Fault("no threads", BLIND + "trainer.threads=0", r"trainer\.threads=0: set a whole number of at least 1\."),
    Fault("threads in words", BLIND + "trainer.threads=all", r"trainer\.threads=all: set a whole number or null\."),
    Fault(
        "options of no strategy",
        BLIND + "+trainer.strategy_options.cpu_offload=true",
        r"strategy_options=\{.*\} belongs to a strategy that is named: set trainer\.strategy too\.",
    ),
    Fault(
        "option misspelt",
        BLIND + "trainer.strategy=ddp +trainer.strategy_options.static_grap=true",
        r"strategy_options\.static_grap=True is no argument of DDPStrategy\.",
    ),
    Fault(
        "FSDP1's argument",
        BLIND + "trainer=fsdp +trainer.strategy_options.limit_all_gathers=true",
        r"strategy_options\.limit_all_gathers=True is no argument of FullySharded\.",
    ),
    Fault(
        "no block recomputed",
        BLIND + "activation_checkpointing=0",
        r"activation_checkpointing=0: set a whole number of at",
    ),
    Fault(
        "blocks in words",
        BLIND + "activation_checkpointing=all",
        r"activation_checkpointing=all: set a whole number or",
    ),
    Fault(
        "more than there are",
        BLIND + "activation_checkpointing=9",
        r"activation_checkpointing=9: Decoder has 4 blocks\. Set activation_checkpointing=1\.",
    ),
    Fault(
        "experts compiled and recomputed",
        BLIND + "compile=true activation_checkpointing=1 model.num_experts=4",
        r"compile=true activation_checkpointing=1: with model\.num_experts torch cannot do both\. Set compile=false or",
    ),
    Fault("no devices", BLIND + "trainer.devices=0", r"trainer\.devices=0: set at least 1, or auto\."),
    Fault("temperature below 0", GENERATE + "temperature=-1", r"temperature=-1: set a number of at least 0\."),
    Fault("stride above a row", EVAL + "stride=64", r"^error: stride=64: set a number from 1 to 32\. .*task\.seq_len"),
]

SHAPES = [
    Fault(
        "width by heads", BLIND + "model.dim=15", r"model\.dim=15 does not divide by model\.num_heads=2: set model\.dim"
    ),
    Fault(
        "heads by groups",
        BLIND + "model.num_heads=4 model.num_kv_heads=3",
        r"model\.num_heads=4 does not divide by model\.num_kv_heads=3: set .*num_kv_heads to 1 or 2 or 4\.",
    ),
    Fault(
        "odd width of a head",
        BLIND + "model.dim=6",
        r"model\.positions=rotary turns pairs, .* is 3, an odd number: set",
    ),
    Fault(
        "rows longer than learned positions",
        BLIND + "model.positions=learned model.max_positions=16 task.seq_len=32",
        r"task\.seq_len=32 is longer than .*positions\. Set task\.seq_len=16 or less, or model\.max_positions=32\.",
    ),
    Fault(
        "evaluated rows longer than learned positions",
        EVAL + "model.positions=learned model.max_positions=32 task.seq_len=33",
        r"task\.seq_len=33 is longer than .*positions\. Set task\.seq_len=32 or less",
    ),
    Fault(
        "learned without a number", BLIND + "model.positions=learned", r"positions=learned .*: set model\.max_positions"
    ),
    Fault(
        "vocabulary that the data cannot fill",
        "train data=json data.path={corpus} tokenizer=bpe tokenizer.vocab_size=50000",
        r"tokenizer\.vocab_size=50000: the training split fills only (\d+)\. Set tokenizer\.vocab_size=\1 or less",
    ),
    Fault(
        "vocabulary below the bytes", BASE + "tokenizer=bpe tokenizer.vocab_size=10", r"vocab_size=10: .*at least 257"
    ),
]

TEXT, JSONL = BASE.replace("json", "text"), BASE.replace("{corpus}", "x.jsonl")
CSV = BASE.replace("json", "csv").replace("{corpus}", "x.csv")
DATA = [
    Fault(
        "file missing",
        BASE.replace("{corpus}", "x.jsnl"),
        r"data\.path=x\.jsnl: there is no such file or folder\. Did you mean 'x\.jsonl'\?",
        make=file("x.jsonl", "{}"),
    ),
    Fault("path not set", "train data=text", r"data\.path is not set: add data\.path=VALUE\."),
    Fault("folder of another kind", BASE + "data=parquet", r"data\.path=.*without \.parquet files; it has test\.jsonl"),
    Fault("file empty", JSONL, r"data\.path=x\.jsonl is empty\. Set data\.path to a file", make=file("x.jsonl", "")),
    Fault("file with no row", JSONL, r"data\.path=x\.jsonl has no row\. Set data\.path", make=file("x.jsonl", "\n\n")),
    Fault(
        "file unreadable",
        JSONL,
        r"data\.path=x\.jsonl cannot be read: permission denied\. Set its rights, or another path\.",
        make=closed("x.jsonl"),
        within=bound_by_rights,
    ),
    Fault(
        "folder unreadable",
        BASE.replace("{corpus}", "data"),
        r"data\.path=data cannot be read: permission denied\.",
        make=lambda run: Path("data").mkdir(mode=0),
        within=bound_by_rights,
    ),
    Fault(
        "not UTF-8",
        JSONL,
        r"data\.path=x\.jsonl is not UTF-8: byte 25 \(0xff\) .*\nSet data\.encoding to the file's own, e\.g\. latin-1",
        make=file("x.jsonl", b'{"text": "ok"}\n{"text": "\xff"}\n'),
    ),
    Fault("encoding unknown", BASE + "data.encoding=utf-9", r"data\.encoding=utf-9 is no encoding .*Set e\.g\. utf-8"),
    Fault(
        "malformed JSON",
        JSONL,
        r"data\.path=x\.jsonl is not json: line 2, column 9: .*Mend the file or set another data\.path",
        make=file("x.jsonl", '{"text": "a"}\n{"text" "b"}\n{"text": "c"}\n'),
    ),
    Fault(
        "text column absent",
        BASE + "data.text_column=txt",
        r"data\.text_column=txt is no column of .*train\.jsonl\. Did you mean 'text'\? It has: text\.",
    ),
    Fault(
        "text column not text",
        JSONL + "data.text_column=n",
        r"data\.text_column=n of x\.jsonl holds no text but int64\. Columns with text: text\.",
        make=file("x.jsonl", '{"text": "a", "n": 1}\n' * 9),
    ),
    Fault("JSON lines that are texts", JSONL, r"data\.path=x\.jsonl is not json: line 1 is no object: write \{\"text\": ",
          make=file("x.jsonl", '"a"\n"b"\n"c"\n')),
    Fault("a JSON line that is a number", JSONL, r"data\.path=x\.jsonl is not json: line 3 is no object: write ",
          make=file("x.jsonl", '{"text": "a"}\n\n1\n{"text": "b"}\n')),
    Fault("a JSON list of texts", JSONL, r"data\.path=x\.jsonl is not json: item 2 of its list is no object: write ",
          make=file("x.jsonl", '[{"text": "a"},\n "b"]\n')),
    Fault("gzip cut off", BASE.replace("{corpus}", "x.jsonl.gz"),
          r"data\.path=x\.jsonl\.gz: the compressed file is damaged or cut off .*\. Fetch or pack it again, or set another",
          make=file("x.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 500)[:-20])),
    Fault("zip cut off", BASE.replace("{corpus}", "x.jsonl.zip"),
          r"data\.path=x\.jsonl\.zip: the compressed file is damaged or cut off .*\. Fetch or pack it again, or set another",
          make=file("x.jsonl.zip", b"PK\x03\x04" + bytes(200))),
    Fault("semicolons for commas", CSV, r"data\.path=x\.csv: its first line is separated by ';', not by ','\. Set "
          r"\"data\.delimiter=';'\"", make=file("x.csv", "id;text\n" + "1;one, two\n" * 30)),
    Fault("tabs for commas", CSV, r"x\.csv: its first line is separated by '\\t', not by ','\. Set \"data\.delimiter=tab\"",
          make=file("x.csv", "id\ttext\n" + "1\tone\n" * 30)),
    Fault("commas for tabs", CSV + "data.delimiter=tab", r"x\.csv: its first line is separated by ',', not by '\\t'\. Set ",
          make=file("x.csv", "id,text\n" + "1,one\n" * 30)),
    Fault("long delimiter", CSV + "data.delimiter=ab", r"data\.delimiter=ab: set one sign, ", make=file("x.csv", "text\na\n")),
    Fault("delimiter of JSON", JSONL + "data.delimiter=tab", r"data\.delimiter=tab: data=json has no cells to separate\."),
    Fault("more cells than names", CSV,
          r"data\.path=x\.csv: its rows have more cells than its first line has names\. Put a text that holds a ',' in ",
          make=file("x.csv", "text\n" + "one, two\n" * 30)),
    Fault("too few rows", JSONL, r"data \(x\.jsonl\): 1 row\(s\) are too few .* Use at least 3 rows",
          make=file("x.jsonl", '{"text": "a"}\n')),
    Fault(
        "test split empty",
        BASE.replace("{corpus}", "data"),
        r"data\.path=data/test\.jsonl is empty\. It is all there is for test\. Set data\.path",
        make=folder_with(test=""),
    ),
    Fault(
        "test split of empty texts",
        BASE.replace("{corpus}", "data"),
        r"data \(.*\): the test split holds no text, only 2 empty rows\. Set data with text for test",
        make=folder_with(test='{"text": ""}\n{"text": ""}\n'),
    ),
    Fault("only a test split", BASE.replace("{corpus}", "{corpus}/test.jsonl"), r"has no train split, only test\. Give one"),
    Fault("hub unreachable", "train data=hub data.name=acme/none logger=csv",
          r"data\.name=acme/none: the hub cannot be reached \(.*\)\.\nOffline: .*set data\.name=FOLDER"),
    Fault("tokenizer of the hub unreachable", BASE + "tokenizer=hub tokenizer.name=acme/none",
          r"tokenizer\.name=acme/none: the hub cannot be reached \(.*\)\.\nOffline: .*tokenizer\.path=FILE"),
    Fault("tokenizer file missing", BASE + "tokenizer=file tokenizer.path=t.json", r"path=t\.json: there is no t\.json in /"),
]  # fmt: skip

BEST = r" To go on from best\.ckpt, copy it over last\.ckpt\."
RUNS = [
    Fault("finished run", RESUME, r"resume=\S*run: this run is finished at step 6\. .*raise trainer\.max_steps \(it was 6\)",
          make=finished),
    Fault("no run", "train resume={corpus}", r"resume=\S* is no run folder: it holds no config\.yaml\. `manyheads runs` "),
    Fault("no folder", "train resume=rum", r"resume=rum: there is no such folder\. Did you mean 'run'\?",
          make=lambda run: Path("run").mkdir(exist_ok=True)),
    Fault("no run to evaluate", "eval run=rum", r"run=rum: there is no such folder\. "),
    Fault("run not named", "eval", r"run is not set: add run=FOLDER, "),
    Fault("tokenizer for eval", EVAL + "tokenizer=character", r"tokenizer: eval scores the weights .*Leave tokenizer out\."),
    Fault("start for eval", EVAL + "init=x", r"init=x: eval scores the weights .*Leave init out\."),
    Fault("resume for eval", EVAL + "resume=x", r"resume=x: eval scores the weights .*Leave resume out\."),
    Fault("other weights to resume", RESUME + "checkpoint=best", r"checkpoint=best: a resumed run goes on from its last "),
    Fault("checkpoint file to resume", "train resume={run}/checkpoints/last.ckpt", r"resume=\S*last\.ckpt is no run folder: "),
    Fault("no run to start from", BASE + "init={corpus}", r"init=\S* is no run folder: it holds no config\.yaml\."),
    Fault("network changed", RESUME + "model.dim=32",
          r"model\.dim=32: a resumed run keeps its network, .* \(it was 16\)\. Leave it out, or start .*init=FOLDER"),
    Fault("network of another choice", RESUME + "model=small", r"model\.dim=384: .* \(it was 16\)\. Leave it out"),
    Fault("resume with a fault that only building finds", RESUME + "callbacks.patience=0 optim.lr=7",
          r"callbacks\.patience=0: set a whole number of at least 1\."),
    Fault("tokenizer changed", RESUME + "tokenizer=character", r"tokenizer\._target_=\S*: a resumed run keeps its "),
    Fault("optimizer changed", RESUME + "optim=adam", r"optim\._target_=\S*adam: a resumed run keeps its "),
    Fault("no such checkpoint", "generate run={run} checkpoint=bst x", r"checkpoint=bst is not in \S*: set one of best, last"),
    Fault("truncated: resume", RESUME, r"checkpoint \S*last\.ckpt is truncated or no checkpoint\." + BEST, make=cut_off),
    Fault("truncated: eval", EVAL, r"last\.ckpt is truncated or no checkpoint\. .*checkpoint=best", make=cut_off),
    Fault("truncated: generate", GENERATE, r"last\.ckpt is truncated or no checkpoint\. .*checkpoint=best", make=cut_off),
    Fault("truncated: init", BASE + "init={run} checkpoint=last", r"last\.ckpt is truncated or no checkpoint", make=cut_off),
    Fault("no tokenizer to start from", BASE + "init={run} checkpoint=last",
          r"init=\S*: the config in \S*last\.ckpt names no tokenizer\. Set init to ", make=checkpoint(no_tokenizer)),
    Fault("another kind of file", GENERATE, r"last\.ckpt is truncated or no checkpoint",
          make=instead("checkpoints/last.ckpt", b"some text")),
    Fault("another kind of checkpoint", EVAL, r"last\.ckpt is not one of manyheads: it has no entry 'manyheads'\.",
          make=without("manyheads")),
    Fault("a newer version's checkpoint", GENERATE, r"last\.ckpt was written by manyheads .*Install that version or a newer",
          make=checkpoint(lambda content: content["manyheads"].update(schema=99))),
    Fault("no weights", RESUME, r"last\.ckpt lacks state_dict: .*" + BEST, make=without("state_dict")),
    Fault("a weight missing: resume", RESUME, r"last\.ckpt lacks network\.embedding\.weight: it is not whole",
          make=without("state_dict", "network.embedding.weight")),
    Fault("a weight missing: eval", EVAL, r"last\.ckpt lacks network\.embedding\.weight: it is not whole",
          make=without("state_dict", "network.embedding.weight")),
    Fault("no optimizer state", RESUME, r"lacks optimizer_states: training cannot go on from it\." + BEST,
          make=without("optimizer_states")),
    Fault("no loops", RESUME, r"lacks loops: training cannot go on from it\.", make=without("loops")),
    Fault("no place in the data", RESUME, r"lacks Generation: training cannot go on from it\.", make=without("Generation")),
    Fault("no step", RESUME, r"lacks manyheads\.step: training", make=without("manyheads", "step")),
    Fault("tokenizer missing", GENERATE, r"lacks manyheads\.tokenizer", make=without("manyheads", "tokenizer")),
    Fault("tokenizer damaged", RESUME, r"last\.ckpt: its tokenizer cannot be read",
          make=checkpoint(lambda content: content["manyheads"].update(tokenizer="{}"))),
    Fault("no checkpoint", RESUME, r"resume=\S*run: this run has no checkpoint yet\. Start it anew",
          make=lambda run: shutil.rmtree(run / "checkpoints")),
    Fault("config damaged", RESUME, r"config\.yaml cannot be read as a config: ", make=instead("config.yaml", b"a: [1")),
    Fault("config no text", EVAL, r"config\.yaml cannot be read as a config: byte 0 is not UTF-8",
          make=instead("config.yaml", b"\xff\xfe")),
    Fault("config of something else", EVAL, r"config\.yaml is not the config of a manyheads run", make=instead("config.yaml", b"a: 1")),
    Fault("config without a schema", EVAL, r"config\.yaml is not the config of a manyheads run: .*no schema number",
          make=instead("config.yaml", b"manyheads: 3")),
    Fault("config of half a run", EVAL, r"task is not set: set task=NAME\.", make=instead("config.yaml", b"manyheads: {schema: 1}")),
    Fault("results damaged", RESUME, r"results\.json is damaged", make=instead("results.json", b"{")),
    Fault("no folder for the figures", EVAL + "to=no/x.json", r"to=no/x\.json: there is no folder no\. Make it"),
]  # fmt: skip

TRAIN = BASE + SMALL
MACHINE = [
    Fault("no GPU", BLIND + "trainer=gpu", r"trainer\.accelerator=gpu: no GPU is visible\. Set trainer=cpu or",
          within=no_gpu),
    Fault("disk full", TRAIN + "model.dim=64", r"last\.ckpt: there is no space left on the disk\. Free some, or start ",
          within=on_disk("size=200k"), failed=True),
    Fault("disk full after a checkpoint", TRAIN + "trainer.val_every_n_steps=1 callbacks.save_every_n_steps=1 callbacks.keep=null",
          r"no space left on the disk\. Free some, or start ", within=on_disk("size=500k"), failed=True),
    Fault("cache on a full disk", TRAIN, r"MANYHEADS_CACHE=\S*disk: the cache folder cannot be written .*Make room there",
          within=cache_on_disk("size=8k")),
    Fault("files limited in size", TRAIN + "model.dim=64", r"last\.ckpt: the file would be larger than the limit",
          within=small_files, failed=True),
    Fault("folder read-only", BASE, r"\S+ cannot be written: a run would go to outputs/runs\. Set its rights, or start ",
          within=read_only(".")),
    Fault("file system read-only", BASE, r"\S+ cannot be written: a run would go to outputs/runs\.", within=on_disk("ro")),
    Fault("outputs is a file", BASE, r"outputs is a file, but outputs/runs must be a folder\. Move it away",
          make=file("outputs", "")),
    Fault("run folder read-only", RESUME + "trainer.max_steps=8", r"run cannot be written: ", within=read_only("run")),
    Fault("checkpoints read-only", RESUME + "trainer.max_steps=8", r"last\.ckpt: permission denied\. Set its rights, or",
          within=read_only("run/checkpoints"), failed=True),
    Fault("figures to a read-only folder", EVAL + "to=shut/x.json", r"to=shut/x\.json: the folder \S* cannot be written",
          within=read_only("shut")),
    Fault("texts to a read-only folder", GENERATE + "to=shut/x.json", r"to=shut/x\.json: the folder \S* cannot be written",
          within=read_only("shut")),
    Fault("no place for the cache", TRAIN, r"MANYHEADS_CACHE=/proc/none: the cache folder cannot be written .*set MANYH",
          within=environment(MANYHEADS_CACHE="/proc/none")),
    Fault("loss not finite", TRAIN + "optim=adamw optim.lr=1e30 trainer.val_every_n_steps=1 trainer.gradient_clip_val=null",
          r"At step 2 .* not finite; training stopped\. \S*last\.ckpt is whole and from before that\.\nTry a smaller optim\.lr",
          failed=True),
    Fault("loss not finite at once", TRAIN + "init={run} checkpoint=last model.num_heads=2",
          r"At step 1 the loss is not finite; .*No checkpoint had been saved yet\.", make=infinite, failed=True),
    Fault("device without numbers", GENERATE + "device=meta x", r"device=meta keeps no numbers, .*\. Set cpu, or leave it out\."),
    Fault("disk full of texts", "generate run={run} to=x.jsonl temperature=100 max_new_tokens=300 num_samples=80 batch_size=80",
          r"to=x\.jsonl: there is no space left on the disk\. Free some, or set another file\.", within=on_disk("size=4k")),
    # 2^48 bytes: more than a process can address, so that no machine takes it on
    Fault("out of memory", BASE + "model.dim=16 model.ff_dim=4398046511104",
          r"out of memory: 262,144\.00 GiB more could not be had\.\nLower task\.batch_size .*, task\.seq_len or model\.dim"),
    Fault("out of all bounds", BLIND + "model.dim=1152921504606846976", r"out of memory\.\nLower task\.batch_size"),
]  # fmt: skip

FAULTS = {fault.id: fault for fault in (*NAMES, *TYPES, *RANGES, *SHAPES, *DATA, *RUNS, *MACHINE)}

ONE_OF_EACH = (
    *("group misspelt", "key misspelt", "choice misspelt", "verb misspelt", "key of generate misspelt"),
    *("text for a count", "text for a key of eval", "rate below 0", "temperature below 0"),
    *(
        "width by heads",
        "heads by groups",
        "rows longer than learned positions",
        "vocabulary that the data cannot fill",
    ),
    *("file missing", "file empty", "file unreadable", "not UTF-8", "malformed JSON"),
    *("text column absent", "text column not text", "test split empty", "hub unreachable"),
    *("no GPU", "disk full", "folder read-only", "loss not finite", "out of memory"),
    *("truncated: generate", "another kind of checkpoint", "a weight missing: eval"),
    *("finished run", "no run", "network changed"),
)
"""What runs every time; the other rows are slow together."""

AS_PROCESSES = (
    *("verb misspelt", "key misspelt", "width by heads", "not UTF-8", "no GPU", "finished run", "truncated: eval"),
    *("a weight missing: resume", "file system read-only", "disk full", "loss not finite", "out of memory"),
)


def rows(quick: Sequence[str]) -> list[Any]:
    return [pytest.param(f, id=name, marks=[pytest.mark.slow] * (name not in quick)) for name, f in FAULTS.items()]


@pytest.fixture
def place(tmp_path: Path, corpus: Path, tiny_trained: Any, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Path]:
    """The current folder, good data, and an interrupted run in the folder `run`, to be made when it is used."""
    monkeypatch.chdir(tmp_path)
    trained = tiny_trained.folder
    return {"corpus": corpus, "run": tmp_path / "run", "trained": trained, "outputs": trained.parents[1]}


def prepared(fault: Fault, place: Mapping[str, Path]) -> list[str]:
    """The words of the command line, with the fault planted."""
    run = place["run"]
    if "{run}" in fault.words:
        shutil.copytree(place["trained"], run)
        results = json.loads((run / "results.json").read_text())
        results["run"]["status"] = "interrupted"
        (run / "results.json").write_text(json.dumps(results))
    if fault.make:
        fault.make(run)
    return fault.words.format(**place).split()


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a run."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_said(fault: Fault, code: int, err: str) -> None:
    assert code == 1
    assert err.startswith("error: "), err
    assert len(err.splitlines()) <= 2, err
    assert re.search(fault.says, err), err


def check_left(fault: Fault, folders: Sequence[Path]) -> None:
    """A run that had begun says that it failed, and whatever checkpoint it has is whole; else there is no run."""
    assert len(folders) == (1 if fault.failed else 0)
    for folder in folders:
        assert json.loads((folder / "results.json").read_text())["run"]["status"] == "failed"
        assert (folder / "config.yaml").read_text().startswith("manyheads:")
        check_whole(folder)
    assert not list(Path().rglob("*.writing"))


def check_whole(folder: Path) -> None:
    from manyheads.run.checkpoint import read_checkpoint

    for path in folder.glob("checkpoints/*"):
        weights = read_checkpoint(path)["state_dict"]
        assert all(value.isfinite().all() for value in weights.values()), path


def folders_of(fault: Fault, run: Path) -> list[Path]:
    """The run folders that the command made or went on with."""
    resumed = [run] if fault.failed and fault.words.startswith(RESUME) else []
    return [*resumed, *(path for path in Path("outputs/runs").glob("*") if path.is_dir())]


@pytest.mark.parametrize("fault", rows(ONE_OF_EACH))
def test_a_mistake_is_told_in_two_lines_and_leaves_nothing_that_looks_whole(
    fault: Fault, place: Mapping[str, Path], cli: Callable[..., Any]
) -> None:
    words, run = prepared(fault, place), place["run"]
    before = content(run) if run.is_dir() else {}
    with fault.within():
        done = cli(*words)
        check_said(fault, done.code, done.err)
        check_left(fault, folders_of(fault, run))
    if not fault.failed and before:
        assert content(run) == before


def process(words: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """A command line as a process: train.py and eval.py for their verbs, the module for the others."""
    script = ROOT / f"{words[0]}.py"
    start = [str(script), *words[1:]] if script.is_file() else ["-m", "manyheads", *words]
    command = [sys.executable, *start]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environ})


@pytest.mark.slow
@pytest.mark.parametrize("fault", [pytest.param(FAULTS[name], id=name) for name in AS_PROCESSES])
def test_a_process_says_the_same(fault: Fault, place: Mapping[str, Path]) -> None:
    """What only a process shows: the exit code, what libraries write to stderr, complaints at the interpreter's end."""
    words = prepared(fault, place)
    with fault.within():
        done = process(words)
        check_said(fault, done.returncode, done.stderr)
        check_left(fault, folders_of(fault, place["run"]))


@pytest.mark.slow
def test_an_unreachable_hub_is_told_at_once(place: Mapping[str, Path]) -> None:
    fault = FAULTS["hub unreachable"]
    start = time.monotonic()
    # a port that refuses at once, as a firewall does; without a network the name is not found, as fast
    done = process(
        prepared(fault, place), HF_HUB_OFFLINE="0", HF_DATASETS_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9"
    )
    check_said(fault, done.returncode, done.stderr)
    assert time.monotonic() - start < 45  # of which the imports take most


@pytest.mark.slow
def test_memory_that_runs_out_in_training_is_told_and_the_run_says_that_it_failed(place: Mapping[str, Path]) -> None:
    """The process may have no more than 200 MB on top of what it has when training starts."""
    program = (
        "import sys, resource, torch, datasets, pytorch_lightning, manyheads.train, manyheads.trainer\n"
        "from pathlib import Path\n"
        "from manyheads.cli import main\n"
        "from manyheads.lm import LM\n"
        "start = LM.on_train_start\n"
        "def limit(lm):\n"
        "    size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (size + 200_000_000,) * 2)\n"
        "    start(lm)\n"
        "LM.on_train_start = limit\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    # 33 million weights: their gradients and moments take 400 MB
    words = (BASE + "model.dim=512 model.ff_dim=4096 optim=adamw trainer.max_steps=3 callbacks.samples=0").format(
        **place
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split()], capture_output=True, text=True, timeout=120, env=os.environ
    )
    fault = Fault("", "", r"out of memory: .* more could not be had\.\nLower task\.batch_size", failed=True)
    check_said(fault, done.returncode, done.stderr)
    check_left(fault, folders_of(fault, place["run"]))


@pytest.mark.parametrize("words", ["model.dim=15", "model.dmi=8"])
def test_the_traceback_is_shown_to_those_who_ask(
    words: str, place: Mapping[str, Path], cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    done = cli(*BLIND.split(), words)
    assert done.code == 1
    assert "Traceback (most recent call last)" in done.err
    assert f"error: {words}" in done.err.splitlines()[-1] or f"error: {words}" in done.err.splitlines()[-2]
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_texts_shorter_than_a_row_work(cli: Callable[..., Any]) -> None:
    file("x.jsonl", "".join(json.dumps({"text": f"t{i}"}) + "\n" for i in range(30)))(Path())
    done = cli(*JSONL.split(), *SMALL.split(), "task.seq_len=512", "trainer.max_steps=1")
    assert (done.code, done.err) == (0, "")
    assert done.results["test"]["loss"] > 0


def test_every_fault_is_named_once() -> None:
    assert len(FAULTS) == sum(map(len, (NAMES, TYPES, RANGES, SHAPES, DATA, RUNS, MACHINE)))
    assert {*ONE_OF_EACH, *AS_PROCESSES} <= FAULTS.keys()
