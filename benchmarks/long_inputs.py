"""What long inputs cost each kind of network, and what it makes of them: time and memory by length, loss by the place in a text,
and values that are asked for again.

    python -m benchmarks.long_inputs FOLDER [--parts cost places recall] [--only NETWORK...] [--lengths N...] [--steps N] [--seed N]

`cost`: a training step (forward and backward, no optimizer) over 8,192 tokens in rows of each length, each network in a process
of its own; the fastest of three, and by how much the peak of the process is above what it had before its first step. `places`:
each network is trained on pydocs, by bytes, for so many steps of 4,096 tokens, in rows of 1,024, an LSTM in rows of 128 with its
state carried on and without; bits per byte of the test split by the place in a row or, carried on, in a text. `recall`: each,
2 layers of width 64, is trained on `task=recall` with 2, 4 and 8 pairs, 64 rows a step; accuracy on test rows.

Writes cost.csv, places.csv and recall.csv, and a page for each with a chart (and a PNG where a Chromium is found) into FOLDER.
It takes long, so it is no part of the table of `python -m benchmarks`.
"""

from __future__ import annotations

import argparse
import csv
import html
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TOKENS = 8192
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
SHAPE = ["model.dim=128"]
NETWORKS: dict[str, list[str]] = {
    "transformer": ["model=tiny", *SHAPE],
    "transformer, window 128": ["model=tiny", *SHAPE, "model.window=128"],
    "linear attention": ["model=linear_attention", *SHAPE],
    "lstm": ["model=lstm", *SHAPE, "model.num_layers=3"],
}
CARRIED = {"lstm, rows of 128": [], "lstm, rows of 128 carried on": ["task.carry=true"]}
NAMES = (*NETWORKS, *CARRIED)
PAIRS = (2, 4, 8)
PARTS = ("cost", "places", "recall")
Row = dict[str, Any]


def say(text: str) -> None:
    """How far it is."""
    print(text, file=sys.stderr, flush=True)


def step_cost(words: Sequence[str], length: int) -> Row:
    """Seconds and bytes of a training step; to be called in a process of its own."""
    import torch

    from manyheads.build import CONF_DIR, build
    from manyheads.head.next_token import NextToken
    from manyheads.run.compose import compose

    torch.manual_seed(1)
    cfg, _ = compose("train", list(words), CONF_DIR)
    network = build(cfg.model, "model", vocab_size=257)
    head = NextToken(dim=network.dim, vocab_size=257, weight=network.output_weight)
    ids = torch.randint(257, (TOKENS // length, length))
    batch: Any = {"input_ids": ids, "labels": ids.roll(-1, 1)}
    before, seconds = peak(), []
    for _ in range(4):
        started = time.perf_counter()
        head(network(batch), batch).loss_sum.backward()
        network.zero_grad()
        seconds.append(time.perf_counter() - started)
    return {"seconds": min(seconds[1:]), "mebibytes": (peak() - before) / 2**20}


def peak() -> int:
    """The most bytes that this process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cost(asked: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """A row for each network and length."""
    for name, words in NETWORKS.items():
        for length in asked.lengths if name in asked.only else ():
            command = [sys.executable, "-m", "benchmarks.long_inputs", "--step", str(length), *words]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            yield {"network": name, "length": length, **json.loads(done.stdout)}


def places(asked: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """A row for each network and stretch of places."""
    common = ["tokenizer=byte", "task.by_place=true", f"seed={asked.seed}", f"trainer.max_steps={asked.steps}"]
    runs = {name: [*words, "task.seq_len=1024", "task.batch_size=4"] for name, words in NETWORKS.items()}
    short = [*NETWORKS["lstm"], "task.seq_len=128", "task.batch_size=32"]
    runs |= {name: [*short, *more] for name, more in CARRIED.items()}
    for name in asked.only:
        words = runs[name]
        run = train(folder, "places", name, [*common, *words])
        with (run / "predictions" / "by_place.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield {"network": name, **row}


def recall(asked: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """A row for each network and number of pairs."""
    common = ["task=recall", "task.batch_size=64", f"seed={asked.seed}", f"trainer.max_steps={asked.steps}"]
    for name, words in NETWORKS.items():
        for pairs in PAIRS if name in asked.only else ():
            length = 4 * pairs + 1
            data = [f"data.pairs={pairs}", f"data.length={length}", f"task.seq_len={length + 1}"]
            small = ["model.dim=64", "model.num_layers=2"]
            run = train(folder, "recall", f"{name} {pairs}", [*common, *words, *data, *small])
            results = json.loads((run / "results.json").read_text(encoding="utf-8"))
            yield {"network": name, "pairs": pairs, "accuracy": results["test"]["accuracy"]}


def train(folder: Path, part: str, name: str, words: Sequence[str]) -> Path:
    """The folder of a run of these words."""
    place = folder / "runs" / part / "".join(sign if sign.isalnum() else "-" for sign in name)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    quiet = ["logger=csv", "callbacks.samples=0", "baselines=false", "trainer.val_every_n_steps=100000"]
    quiet += ["trainer.limit_val_batches=4"]  # the last weights are scored: validation chooses nothing
    command = [sys.executable, str(ROOT / "train.py"), *words, *quiet]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    (run,) = (place / "outputs" / "runs").iterdir()
    return run


MEASURES = {"cost": cost, "places": places, "recall": recall}
CHARTS = {
    "cost": [
        ("length", "seconds", "a training step over 8,192 tokens, seconds"),
        ("length", "mebibytes", "its memory, MiB"),
    ],
    "places": [("first", "bits_per_byte", "bits per byte by the place in a text")],
    "recall": [("pairs", "accuracy", "values told right by the number of pairs")],
}


def chart(part: str, rows: Sequence[Row], path: Path) -> None:
    """A page with a chart for each measure of a part."""
    from plotly.graph_objects import Figure

    pages = []
    for x, y, title in CHARTS[part]:
        figure = Figure()
        for name in dict.fromkeys(row["network"] for row in rows):
            own = [row for row in rows if row["network"] == name]
            figure.add_scatter(x=[float(row[x]) for row in own], y=[float(row[y]) for row in own], name=name)
        log = {"type": "log", "dtick": 0.30102999566398}  # a line for each doubling
        figure.update_layout(title=title, xaxis={"title": x, **log}, plot_bgcolor="white", width=900, height=440)
        if part == "cost":
            figure.update_yaxes(type="log")
        pages.append(figure.to_html(include_plotlyjs=not pages, full_html=False, config={"displaylogo": False}))
    heading = html.escape(part)
    path.write_text(f'<!doctype html><meta charset="utf-8"><title>{heading}</title>{"".join(pages)}', encoding="utf-8")


def picture(page: Path) -> None:
    """The page as a PNG beside it, where there is a Chromium."""
    browser = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if browser is None:
        say("no chromium: no PNG")
        return
    size = f"--window-size=940,{480 * len(CHARTS[page.stem])}"
    words = ["--headless", "--no-sandbox", "--hide-scrollbars", size, "--virtual-time-budget=5000"]
    target = f"--screenshot={page.with_suffix('.png')}"
    subprocess.run([browser, *words, target, page.resolve().as_uri()], capture_output=True, check=True)


def write(part: str, rows: Iterable[Row], folder: Path) -> None:
    """The numbers of a part as they come, then its page."""
    found: list[Row] = []
    for row in rows:
        say(" ".join(f"{name}={value}" for name, value in row.items()))
        found.append(row)
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(found[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(found)
    chart(part, found, folder / f"{part}.html")
    picture(folder / f"{part}.html")


def main(argv: Sequence[str]) -> None:
    """The command line."""
    if argv[:1] == ["--step"]:
        print(json.dumps(step_cost(argv[2:], int(argv[1]))))
        return
    parser = argparse.ArgumentParser(prog="benchmarks.long_inputs", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="NETWORK", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--steps", type=int, default=300, help="optimizer steps of each training (default 300)")
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args(argv)
    words.folder.mkdir(parents=True, exist_ok=True)
    folder = words.folder.resolve()
    for part in words.parts:
        write(part, MEASURES[part](words, folder), folder)


if __name__ == "__main__":
    main(sys.argv[1:])
