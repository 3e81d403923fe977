"""Tiny Shakespeare on a CPU: nanoGPT's own train.py, experiment=shakespeare_char and experiment=shakespeare_char_best.

    python -m benchmarks nanogpt --peer nanogpt=CHECKOUT --peer shakespeare=FOLDER

FOLDER has train.txt and validation.txt (nanoGPT's data/shakespeare_char cut 90/10). nanoGPT runs as its README says for a
CPU, and keeps its last weights whatever its own estimate says of them.

Time is that of the training loop with the validations in it, from the last line before its first step to the line of its
last, so neither side's imports count. The loss is over the whole validation text: windows of 64 characters that do not
overlap, the same for each network, each character after the first once. A round takes minutes: there are five at most.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.base import Benchmark, Goal, Skipped, checkout, say

MAX_ROUNDS = 5
WINDOW = 64
STEPS = 2000
DATA_SET = "shakespeare_char"
NANOGPT = [
    "config/train_shakespeare_char.py",
    *("--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1", f"--block_size={WINDOW}"),
    *("--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", f"--max_iters={STEPS}"),
    *(f"--lr_decay_iters={STEPS}", "--dropout=0.0", "--always_save_checkpoint=True", "--out_dir=out"),
]


class Trained(NamedTuple):
    """One run: seconds of its training loop, of the whole process, its loss, and the loss in windows of its own."""

    loop: float
    process: float
    loss: float
    own: float


def timed(command: Sequence[str], folder: Path, before: str, last: str) -> tuple[float, float]:
    """Seconds from the last line before the first that matches `before` to the one that matches `last`, and of it all."""
    started = time.perf_counter()
    begun = ended = 0.0
    previous, lines = started, []
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if not begun and re.match(before, line):
                begun = previous
            previous = time.perf_counter()
            if re.match(last, line):
                ended = previous
    assert process.returncode == 0, "".join(lines[-20:])
    assert begun < ended, f"no line like {before}, or none like {last} after it"
    return ended - begun, time.perf_counter() - started


def validation_loss(logits: Callable[[Any], Any], ids: Sequence[int]) -> float:
    """Nats per character after the first, in windows of WINDOW inputs that do not overlap."""
    import torch
    import torch.nn.functional as F

    tokens, total = torch.tensor(ids), 0.0
    with torch.inference_mode():
        for start in range(0, len(tokens) - 1, 64 * WINDOW):
            part = tokens[start : start + 64 * WINDOW + 1]
            whole = (len(part) - 1) // WINDOW * WINDOW
            for inputs, labels in (
                (part[:whole].view(-1, WINDOW), part[1 : whole + 1].view(-1, WINDOW)),
                (part[whole:-1][None], part[whole + 1 :][None]),
            ):
                if inputs.numel():
                    scores = logits(inputs).flatten(0, 1)
                    total += F.cross_entropy(scores, labels.flatten(), reduction="sum").double().item()
    return total / (len(tokens) - 1)


def prepared(checkout: Path, texts: dict[str, str], folder: Path) -> dict[str, int]:
    """A copy of nanoGPT with the texts in its own format; the number of each character."""
    import numpy as np

    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns(".git", "*.bin", "*.pkl", "out*"))
    characters = sorted(set("".join(texts.values())))
    numbers = {character: number for number, character in enumerate(characters)}
    place = folder / "data" / DATA_SET
    for split, name in (("train", "train.bin"), ("validation", "val.bin")):
        np.array([numbers[character] for character in texts[split]], dtype=np.uint16).tofile(place / name)
    meta = {"vocab_size": len(characters), "itos": dict(enumerate(characters)), "stoi": numbers}
    (place / "meta.pkl").write_bytes(pickle.dumps(meta))
    return numbers


def theirs(folder: Path, text: str, numbers: dict[str, int]) -> Trained:
    """nanoGPT's run in its prepared copy."""
    import torch

    seconds = timed([sys.executable, "-u", "train.py", *NANOGPT], folder, r"step 0:", rf"iter {STEPS}:")
    spec = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    saved = torch.load(folder / "out" / "ckpt.pt", weights_only=True)
    assert saved["iter_num"] == STEPS
    model = module.GPT(module.GPTConfig(**saved["model_args"])).eval()
    model.load_state_dict(saved["model"])
    # without labels it gives the last position's logits alone
    loss = validation_loss(lambda ids: model(ids, ids)[0], [numbers[character] for character in text])
    return Trained(*seconds, loss, loss)


def ours(experiment: str, data: Path, text: str, seed: int) -> Trained:
    """Our run of an experiment, without W&B, which nanoGPT does not use here either."""
    import manyheads

    words = [f"experiment={experiment}", f"data.path={data}", "logger=csv", f"seed={seed}"]
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-u", "-m", "manyheads", "train", *words]
        seconds = timed(command, Path(place), r"step +1/", r"step +([\d,]+)/\1  validation")
        (folder,) = Path(place).glob("outputs/runs/*")
        own = json.loads((folder / "results.json").read_text(encoding="utf-8"))["val"]["loss"]
        model = manyheads.load(folder)
        loss = validation_loss(
            lambda ids: model.head.logits(model.network({"input_ids": ids})), model.tokenizer.encode(text)
        )
    return Trained(*seconds, loss, own)


def measure(rounds: int) -> dict[str, list[float]]:
    """Each of the three once per round, every other round in the opposite order."""
    found: dict[str, list[float]] = {key: [] for key in GOALS}
    nanogpt, data = checkout("nanogpt"), texts_folder()
    texts = {split: (data / f"{split}.txt").read_bytes().decode() for split in ("train", "validation")}
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "nanogpt"
        numbers = prepared(nanogpt, texts, copy)
        for number in range(min(rounds, MAX_ROUNDS)):
            runs: dict[str, Callable[[], Trained]] = {
                "nanogpt": lambda: theirs(copy, texts["validation"], numbers),
                "char": lambda seed=number + 1: ours("shakespeare_char", data, texts["validation"], seed),
                "best": lambda seed=number + 1: ours("shakespeare_char_best", data, texts["validation"], seed),
            }
            each: dict[str, Trained] = {}
            for name in sorted(runs, reverse=number % 2 == 0):
                each[name] = runs[name]()
                say(f"{name}: " + " ".join(f"{key} {value:.4f}" for key, value in each[name]._asdict().items()))
            for key, value in compared(**each).items():
                found[key].append(value)
    return found


def compared(nanogpt: Trained, char: Trained, best: Trained) -> dict[str, float]:
    """The rows of one round."""
    return {
        "time": char.loop / nanogpt.loop,
        "loss": char.loss - nanogpt.loss,
        "process": char.process / nanogpt.process,
        "best_time": best.loop / nanogpt.loop,
        "nanogpt_seconds": nanogpt.loop,
        "nanogpt_loss": nanogpt.loss,
        "char_loss": char.loss,
        "best_loss": best.loss,
        "best_own": best.own,
    }


def texts_folder() -> Path:
    """Where train.txt and validation.txt are."""
    line = "--peer shakespeare=FOLDER, with train.txt and validation.txt in it"
    try:
        folder = checkout("shakespeare").resolve()
    except Skipped:
        raise Skipped(line) from None
    if not all((folder / f"{split}.txt").is_file() for split in ("train", "validation")):
        raise Skipped(line)
    return folder


_ROUNDS = f"{MAX_ROUNDS} rounds at most"
GOALS = {
    "time": Goal(f"shakespeare_char: training with its validations ({_ROUNDS})", 1.0, "at most"),
    "loss": Goal("shakespeare_char: loss over the validation text, above nanoGPT's", 0.01, "at most", "nats"),
    "process": Goal("shakespeare_char: the whole process, imports and last scores included", None, "at most"),
    "best_time": Goal("shakespeare_char_best: training with its validations", 1.0, "at most"),
    "nanogpt_seconds": Goal("nanoGPT: training with its validations", None, "at most", "s"),
    "nanogpt_loss": Goal("nanoGPT: loss over the validation text", None, "at most", "nats"),
    "char_loss": Goal("shakespeare_char: the same", None, "at most", "nats"),
    "best_loss": Goal("shakespeare_char_best: the same", None, "at most", "nats"),
    "best_own": Goal("shakespeare_char_best: in windows of its own, as val/loss", None, "at most", "nats"),
}

BENCHMARK = Benchmark(name="nanogpt", peer="nanoGPT train.py", measure=measure, threads=2, goals=GOALS)

if __name__ == "__main__":
    BENCHMARK.main()
