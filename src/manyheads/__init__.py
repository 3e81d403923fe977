"""manyheads: experiments with language models on PyTorch Lightning and Hydra.

results = manyheads.train(overrides=["model=tiny", "trainer.max_steps=200"])
lm = manyheads.load("outputs/runs/RUN")
lm.generate("The function returns")
lm.score(["some text"]).bits_per_byte
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.load import load
    from manyheads.train import from_overrides as train

__version__ = "0.1.0"
__all__ = ["__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    """Imports torch only when something is used that needs it."""
    if name not in ("load", "train"):
        raise AttributeError(f"module 'manyheads' has no attribute {name!r}")
    import importlib

    # a submodule of the same name would take this attribute's place when it is imported, so it is made callable
    return importlib.import_module(f"manyheads.{name}")
