"""What plants a fault: in files of the current folder, or in what a run has left."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
