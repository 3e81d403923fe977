"""What every test runs under: no hub, no account, two threads at most, warnings as errors, a cache of its own."""

import contextlib
import csv
import io
import json
import logging
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ.pop("WANDB_API_KEY", None)
os.environ.pop("HYDRA_FULL_ERROR", None)
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# processes that tests start share the cores; two threads each wait for one another at every kernel
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder shared by the tests of one session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYHEADS_CACHE", str(session_cache))
    monkeypatch.setenv("HF_HOME", str(session_cache / "hf"))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Hydra's --info leaves a handler that writes to the stream of the test that asked for it."""
    yield
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        root.removeHandler(handler)


@pytest.fixture(autouse=True)
def _own_rank() -> Iterator[None]:
    """A strategy that a test builds as another rank would leave that rank to the loggers of the next test."""
    yield
    if "pytorch_lightning" in sys.modules:
        sys.modules["pytorch_lightning"].utilities.rank_zero_only.rank = 0


@pytest.fixture(autouse=True)
def _own_secrets() -> Iterator[None]:
    """What a test had hidden, were it the 8 of a misspelt `task.max_token=8`, is masked in all that later ones are told."""
    before = set(os.environ)
    yield
    for name in set(os.environ) - before:
        if name.startswith("MANYHEADS_SECRET_"):
            del os.environ[name]


# whole runs, through the front door: each takes about a second


@dataclass(frozen=True)
class Done:
    """What a command line did."""

    code: int
    out: str
    err: str
    folders: list[Path]  # the run folders that it made

    @property
    def folder(self) -> Path:
        """The one run folder that it made."""
        (folder,) = self.folders
        return folder

    @property
    def results(self) -> dict[str, Any]:
        """What results.json of that folder holds."""
        return json.loads((self.folder / "results.json").read_text(encoding="utf-8"))

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, without their empty cells."""
        return read_metrics(self.folder)


def read_metrics(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def run_main(*words: str) -> Done:
    """`manyheads WORDS` in this process and in the current folder."""
    from manyheads.cli import main

    before = _run_folders()
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["manyheads", *words])
        code = main(list(words))
    return Done(code, out.getvalue(), err.getvalue(), sorted(_run_folders() - before))


def _run_folders() -> set[Path]:
    found = {path.parent for pattern in ("runs/*", "sweeps/*/*") for path in Path("outputs").glob(f"{pattern}/*")}
    return {path.resolve() for path in found}


WORDS = [
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "was",
    "for",
    "as",
    "with",
    "his",
    "have",
    "from",
]


def made_up_texts(seed: int, count: int) -> list[str]:
    """Texts of 1 to 60 words, some with letters of several bytes, one of a single letter, none empty."""
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 60))) for _ in range(count - 2)]
    return [*texts, "é☃ naïve \N{GRINNING FACE}", "x"]


@pytest.fixture(scope="session")
def texts() -> dict[str, list[str]]:
    """The texts of each split of `corpus`."""
    return {
        split: made_up_texts(seed, n) for split, seed, n in (("train", 1, 90), ("validation", 2, 11), ("test", 3, 13))
    }


@pytest.fixture(scope="session")
def corpus(texts: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl, validation.jsonl and test.jsonl, of which the last also holds an empty text."""
    folder = tmp_path_factory.mktemp("corpus")
    for split, rows in texts.items():
        lines = [json.dumps({"text": text}) for text in [*rows, *([""] if split == "test" else [])]]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny(corpus: Path) -> list[str]:
    """The words of a command line that trains a very small model in about half a second: 6 steps, two validations."""
    return [
        "data=json", f"data.path={corpus}", "tokenizer=byte", "model.dim=16", "model.num_layers=1",
        "model.num_heads=2", "task.seq_len=32", "task.batch_size=4", "trainer.max_steps=6",
        "trainer.val_every_n_steps=3", "trainer.log_every_n_steps=2", "logger=csv",
        "++callbacks.sample_tokens=8", "++optim.warmup_steps=0",  # ++ saves the search for keys that no yaml spells out
    ]  # fmt: skip


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Calls a verb in an empty folder: `cli("train", ...)`."""
    monkeypatch.chdir(tmp_path)
    return run_main


@pytest.fixture(scope="session")
def tiny_trained(tiny: list[str], session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One finished run of `tiny` for all tests that only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANYHEADS_CACHE", str(session_cache))
        patch.chdir(tmp_path_factory.mktemp("trained"))
        done = run_main("train", *tiny)
    assert done.code == 0, done.err
    return done
