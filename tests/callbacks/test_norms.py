"""Guards norms of half a step, of clipped gradients, of a mean over the wrong count, and of layers mixed up."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from manyheads.batch import Batch
from manyheads.callbacks.norms import LayerNorms, layer_norms, layer_of
from manyheads.lm import LM
from manyheads.optim.base import Optimization
from manyheads.optim.budget import Budget
from manyheads.optim.schedule import Course
from manyheads.testing import tiny_network

VOCABULARY, LR = 11, 0.5


def test_layers_are_blocks_and_the_modules_outside_of_them() -> None:
    names = {
        "network.blocks.3.attention.query.weight": "blocks.3",
        "network.blocks.12.norm.weight": "blocks.12",
        "network.embedding.weight": "embedding",
        "network.norm.weight": "norm",
        "head.output.weight": "head.output",
        "head.scale": "head",
        "scale": "scale",
    }
    assert {name: layer_of(name) for name in names} == names


def test_a_norm_is_over_all_tensors_of_a_layer() -> None:
    named = [
        ("network.blocks.0.a", torch.tensor([3.0, 0.0])),
        ("head.w", torch.tensor([[2.0]], dtype=torch.bfloat16)),
        ("network.blocks.0.b.c", torch.tensor(4.0)),
    ]
    layers, norms = layer_norms(named)
    assert (layers, norms.tolist()) == (["blocks.0", "head"], [5.0, 2.0])
    assert norms.dtype == torch.float32


def test_norms_of_float64_are_float64() -> None:
    _, norms = layer_norms([("head.w", torch.tensor([3.0, 4e-9], dtype=torch.float64)), ("w", torch.tensor([1.0]))])
    assert norms.dtype == torch.float64
    assert norms.tolist() == [3.0, 1.0]


def batches(count: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(5)
    made = []
    for i in range(count):
        ids = torch.randint(VOCABULARY, (2, 6), generator=draw)
        labels = torch.randint(VOCABULARY, (2, 6), generator=draw)
        labels[0, : i % 4] = -100  # micro-batches of different counts
        made.append(Batch(input_ids=ids, labels=labels))
    return made


class Kept(pl.loggers.Logger):
    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}

    name = version = "kept"  # type: ignore[assignment]

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        assert step is not None
        self.rows.setdefault(step, {}).update(metrics)


def make_lm() -> LM:
    network, head = tiny_network(VOCABULARY, dim=8)

    def optimization(module: torch.nn.Module) -> Optimization:
        return Optimization(torch.optim.SGD(module.parameters(), lr=LR), Course(warmup_steps=0, schedule="constant"))

    return LM(network=network, head=head, metrics=[], optimization=optimization, budget=Budget(max_steps=2))


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
@pytest.mark.parametrize("clip", [None, 1e-3])
def test_gradients_of_an_accumulated_step_before_clipping_and_weights_after_it(clip: float | None) -> None:
    """By hand: the gradient of the summed loss of three micro-batches, over the count of their labels; the weights after a
    step of plain SGD with the clipped gradient. The clipped norms would be hundreds of times smaller."""
    data, lm, kept = batches(6), make_lm(), Kept()
    callback = LayerNorms(every_n_steps=2)
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=2, accumulate_grad_batches=3, gradient_clip_val=clip, logger=kept,
        callbacks=[callback], log_every_n_steps=1, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(lm, DataLoader(data, batch_size=None))  # type: ignore[arg-type]

    own = make_lm()
    for step in range(2):
        own.zero_grad()
        outputs = [own(batch) for batch in data[3 * step : 3 * step + 3]]
        count = sum(float(output.count) for output in outputs)
        (sum(output.loss_sum for output in outputs) / count).backward()  # type: ignore[union-attr]
        gradients = {name: p.grad.clone() for name, p in own.named_parameters() if p.grad is not None}
        total = torch.cat([g.flatten() for g in gradients.values()]).norm()
        scale = 1.0 if clip is None else min(1.0, clip / (float(total) + 1e-6))
        with torch.no_grad():
            for name, p in own.named_parameters():
                p -= LR * scale * gradients[name]
    wanted = {}
    for kind, tensors in (("grad", gradients), ("weight", dict(own.named_parameters()))):
        for layer in {layer_of(name) for name in tensors}:
            parts = [tensor.detach().flatten() for name, tensor in tensors.items() if layer_of(name) == layer]
            wanted[f"norms/{kind}/{layer}"] = float(torch.cat(parts).norm())
    row = kept.rows[2]
    assert {name: value for name, value in row.items() if name.startswith("norms/")} == pytest.approx(wanted, rel=1e-4)
    assert row["train/tokens"] == lm.tokens_seen
    assert list(kept.rows) == [2]
    squares = sum(value**2 for name, value in row.items() if name.startswith("norms/grad/"))
    assert lm.last_grad_norm is not None
    assert squares**0.5 == pytest.approx(float(lm.last_grad_norm), rel=1e-5)
    assert lm.before_clipping is None
