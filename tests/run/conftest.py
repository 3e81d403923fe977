"""A config tree and a package with targets, both tiny, and run folders."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FILES = {
    "conf/train.yaml": """\
defaults:
  - _self_
  - data: tiny
  - model: small
  - optim: adam
  - logger: wandb
  - hydra: default
  - experiment: null

seed: 1
resume: null  # a run folder: continue it in place
allow: []     # modules
""",
    "conf/eval.yaml": "defaults:\n  - _self_\n  - hydra: default\n\nrun: null\ncheckpoint: best\nstride: null\nallow: []\n",
    "conf/data/tiny.yaml": "_target_: toys.parts.tiny\n",
    "conf/data/text.yaml": "_target_: toys.parts.text\npath: ???\n",
    "conf/model/small.yaml": "_target_: toys.Net\ndim: 8\n",
    "conf/model/large.yaml": "_target_: toys.Net\ndim: 64\n",
    "conf/optim/adam.yaml": "_target_: toys.parts.adam\nlr: 0.1\n",
    "conf/optim/sgd.yaml": "_target_: toys.parts.sgd\nlr: 0.5\n",
    "conf/logger/wandb.yaml": "wandb:\n  _target_: toys.parts.wandb\n",
    "conf/logger/csv.yaml": "csv:\n  _target_: toys.parts.csv\n",
    "conf/experiment/big.yaml": "# @package _global_\nmodel:\n  dim: 99\n",
    "toys/__init__.py": "from toys.parts import Sub as Net\n",
    "toys/parts.py": """\
raise AssertionError("a target must be read, not imported")

def tiny(*, fraction=0.1): ...
def text(*, path, encoding="utf-8"): ...
def adam(module, lr=0.1, *, beta=0.9): ...
def sgd(module, lr=0.5, *, momentum=0.0): ...
def wandb(*, folder, project="p"): ...
def csv(*, folder): ...

class Base:
    def __init__(self, vocab_size, dim=4, *, norm="rms", heads=2): ...

class Sub(Base):
    pass
""",
}


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a config tree; its targets are found, and fail when they are imported."""
    for name, text in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    real = Path(__file__).parents[2] / "conf" / "hydra" / "default.yaml"
    (tmp_path / "tree/conf/hydra").mkdir()
    (tmp_path / "tree/conf/hydra/default.yaml").write_text(real.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "tree"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    sys.modules.pop("toys", None)
    from manyheads.run.schema import arguments

    arguments.cache_clear()
    return tmp_path / "tree" / "conf"


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a run folder under ./outputs, with what results.json holds; `run` adds to its run part."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, *, bpb: float | None = None, status: str = "done", dim: int = 4, where: str = "runs") -> Path:
        folder = tmp_path / "outputs" / where / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "config.yaml").write_text(f"manyheads:\n  schema: 1\nmodel:\n  dim: {dim}\n", encoding="utf-8")
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"x" * 1000)
        val = {} if bpb is None else {"bits_per_byte": bpb}
        results = {"schema": 1, "val": val, "test": {}, "perf": {}, "run": {"status": status, "data": "tiny"}}
        (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
        return folder.relative_to(tmp_path)

    return make
