"""Whole runs on a stream: what is scored, where a resumed run goes on, and how much memory it takes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import manyheads
from manyheads.errors import UserError

STREAM = ["data.streaming=true", "data.shuffle_mb=0.002"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_stream_trains_and_every_byte_of_the_scored_splits_counts(
    tiny: list[str], texts: dict[str, list[str]]
) -> None:
    """Guards: a scored split that a stream counts in part, and notes that leave out how the stream is read."""
    results = manyheads.train(overrides=[*tiny, *STREAM])
    (folder,) = Path("outputs/runs").iterdir()
    lines = [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]
    assert sum(line["bytes"] for line in lines) == sum(len(text.encode()) for text in texts["test"])
    notes = " ".join(results["run"]["notes"])
    assert "train is a stream: read, tokenized and packed as it is trained on" in notes
    assert "the stream was gone through" in notes
    assert results["test"]["bits_per_byte"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(
    tiny: list[str], cli: Callable[..., Any], accumulate: int
) -> None:
    """Guards: any state of the stream that a checkpoint lacks. 90 texts: step 4 is in the first pass, 100 in a later one;
    the weights depend on every batch and on their order."""
    words = [*tiny, *STREAM, f"trainer.accumulate_grad_batches={accumulate}", "++optim.schedule=constant",
             "++trainer.limit_val_batches=1",
             "trainer.val_every_n_steps=50"]  # fmt: skip
    whole = cli("train", *words, "trainer.max_steps=100")
    assert whole.code == 0, whole.err
    last = torch.load(whole.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["Generation"]["passes"] >= 1
    part = cli("train", *words, "trainer.max_steps=4")
    folder = part.folder
    for steps in (11, 100):
        done = cli("train", f"resume={folder}", f"trainer.max_steps={steps}")
        assert done.code == 0, done.err
    for name, value in weights(whole.folder).items():
        assert torch.equal(value, weights(folder)[name]), name


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["trainer.max_epochs=2"], "trainer.max_epochs=2: data.streaming=true: how long an epoch is comes out only at"),
        (["++trainer.limit_train_batches=0.5"], "trainer.limit_train_batches=0.5: .* Set a whole number of batches"),
        (
            ["++task.num_workers=2"],
            "task.num_workers=2: set a number from 0 to 1. With data.streaming=true one process",
        ),
        (["++data.contamination=13"], "data.contamination=13 compares all rows"),
    ],
)
def test_what_does_not_go_with_a_stream_is_told_before_anything_is_made(
    tiny: list[str], words: list[str], text: str
) -> None:
    with pytest.raises(UserError, match=text):
        manyheads.train(overrides=[*tiny, *STREAM, *words])
    assert not Path("outputs").exists()


MEMORY = """
import itertools, resource, sys
from manyheads.data.files import files
from manyheads.data.stream_loader import StreamBatches
from manyheads.testing import byte_tokenizer

source = files(format="text", path=sys.argv[1], streaming=True, head_mb=0.2)
held = [len(source.rows(split)) for split in ("validation", "test")]
batches = StreamBatches(source.stream(), byte_tokenizer(), joined=True, name="x", batch_size=64, seq_len=1024,
                        pack=True, shuffle=True, seed=1)
for batch, place in itertools.islice(batches, 300):
    pass
read = sum(len(text) for block, _ in source.stream().blocks(place["stream"]) for text in block.texts)
print(place["stream"]["read"], read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_and_disk_stay_flat_whatever_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: rows that pile up, in memory or in the cache: batches of 20 MB and a reading of the rest take no more
    of 200 MB of text than of 24 MB, or 60 MB more at most; the tokens of the file alone would take 400."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(1, 9))) for _ in range(2000)]
    piece = "".join(" ".join(draw.choices(words, k=12)) + "\n" for _ in range(16_000))
    peaks, sizes = [], []
    for copies in (24, 200):
        path = tmp_path / f"{copies}.txt"
        with path.open("w") as file:
            for _ in range(copies):
                file.write(piece)
        cache = tmp_path / f"cache_{copies}"
        monkeypatch.setenv("MANYHEADS_CACHE", str(cache))
        done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
        trained, read, peak = done.stdout.split()
        assert int(trained) * 70 + int(read) > 0.95 * path.stat().st_size
        peaks.append(float(peak))
        sizes.append(sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()))
    assert path.stat().st_size > 180e6
    assert sizes[1] < 2e6
    assert peaks[1] < peaks[0] + 60
