"""Guards: gradients that depend on how a batch was cut into micro-batches, and a mean of means in a printed number."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from manyheads.batch import IGNORE, Batch
from manyheads.head.next_token import NextToken
from manyheads.lm import LM
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.metric.perplexity import Perplexity
from manyheads.model.decoder import Decoder
from manyheads.optim.base import Optimization
from manyheads.optim.budget import Budget
from manyheads.optim.schedule import Course

VOCAB = 13
LENGTHS = (
    9,
    1,
    4,
    7,
    2,
    9,
    3,
    5,
)  # label tokens of eight rows: a mean of means would weigh the row of 1 like a row of 9


class _KeepGradients(torch.optim.SGD):
    """Plain gradient descent that remembers what it was given."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=0.1)
        self.seen: list[list[Tensor]] = []

    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure is not None else None
        self.seen.append([p.grad.clone() for group in self.param_groups for p in group["params"]])
        super().step()
        return loss


def _rows() -> Batch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, VOCAB, (len(LENGTHS), 10), generator=generator)
    labels = ids[:, 1:].clone()
    for row, length in enumerate(LENGTHS):
        labels[row, length:] = IGNORE
    return {"input_ids": ids[:, :-1], "labels": labels, "num_bytes": torch.tensor([2 * n for n in LENGTHS])}


def _lm(
    dtype: torch.dtype, made: list[_KeepGradients], *, of_network: dict[str, Any] | None = None, **of_head: Any
) -> LM:
    torch.manual_seed(1)
    network = Decoder(vocab_size=VOCAB, dim=8, num_layers=1, num_heads=2, **of_network or {}).to(dtype)
    head = NextToken(dim=8, vocab_size=VOCAB, weight=network.output_weight, **of_head).to(dtype)

    def optimization(module: torch.nn.Module) -> Optimization:
        made.append(_KeepGradients(module.parameters()))
        return Optimization(made[-1], Course(schedule="constant", warmup_steps=0))

    metrics = (Loss, Perplexity, BitsPerByte)
    return LM(network=network, head=head, metrics=metrics, optimization=optimization, budget=Budget(max_steps=2))


def _fit(lm: LM, micro: int, folder: Path, precision: str, ranks: int = 1) -> pl.Trainer:
    rows = _rows()
    batches = [{k: v[i : i + micro] for k, v in rows.items()} for i in range(0, len(LENGTHS), micro)]
    trainer = pl.Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp_fork" if ranks > 1 else "auto", precision=precision, max_steps=2,
        accumulate_grad_batches=len(batches) // ranks,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, default_root_dir=folder, gradient_clip_val=1e9,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer.fit(lm, loader)
    return trainer


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
@pytest.mark.parametrize(
    ("dtype", "precision", "tolerance"), [(torch.float32, "32-true", 1e-6), (torch.float64, "64-true", 1e-12)]
)
@pytest.mark.parametrize("micro", [1, 2, 4, 8])
def test_accumulated_gradients_equal_the_one_batch_gradient(
    micro: int, dtype: torch.dtype, precision: str, tolerance: float, tmp_path: Path
) -> None:
    """The oracle is the gradient of torch's own mean cross-entropy over all labels of the eight ragged rows at once."""
    made: list[_KeepGradients] = []
    lm = _lm(dtype, made)
    oracle = _lm(dtype, [])
    rows = _rows()
    logits = oracle.head.logits(oracle.network(rows))
    F.cross_entropy(logits.flatten(0, 1), rows["labels"].flatten(), ignore_index=IGNORE).backward()
    _fit(lm, micro, tmp_path, precision)
    parameters = list(oracle.parameters())
    scale = max(p.grad.abs().max().item() for p in parameters if p.grad is not None)
    assert len(made[0].seen) == 2
    for got, parameter in zip(made[0].seen[0], parameters, strict=True):
        assert parameter.grad is not None
        assert (got - parameter.grad).abs().max().item() <= tolerance * scale


EXPERTS = {"num_experts": 4, "init_std": 0.5, "load_balance": 0.7, "router_z_loss": 0.2}
HEAD_OPTIONS = {"z_loss": 0.3, "label_smoothing": 0.2, "mtp_tokens": 2, "mtp_weight": 0.6}


def _objective(lm: LM, batches: list[Any]) -> Tensor:
    """The mean over all labels of what training minimises, from whole logits and torch's functions."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for batch in batches:
        hidden, labels = lm.network(batch), batch["labels"]
        auxiliary = lm._auxiliary_losses(batch)
        assert auxiliary is not None
        logits = lm.head.logits(hidden)  # type: ignore[operator]
        total = total + F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum", label_smoothing=0.2)
        total = total + 0.3 * logits.logsumexp(-1)[labels != IGNORE].square().sum() + auxiliary.total
        for distance, layer in enumerate(lm.head.ahead, start=1):  # type: ignore[arg-type]
            further = lm.head.logits(layer(hidden))[:, :-distance]  # type: ignore[operator]
            total = total + 0.6 * F.cross_entropy(
                further.flatten(0, 1), labels[:, distance:].flatten(), reduction="sum"
            )
        count += int((labels != IGNORE).sum())
    return total / count


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
@pytest.mark.parametrize("over", ["row", "batch"])
@pytest.mark.parametrize("micro", [1, 2, 4, 8])
def test_losses_of_training_alone_are_normalised_by_the_same_count(micro: int, over: str, tmp_path: Path) -> None:
    """By row the oracle is the one-batch gradient. The balance of a batch is one of micro-batches by its definition, so
    there it is the mean over micro-batches, each weighted by its labels; that this differs is seen too."""
    made: list[_KeepGradients] = []
    options: Any = {"of_network": EXPERTS | {"balance_over": over}, **HEAD_OPTIONS}
    lm, oracle = _lm(torch.float64, made, **options), _lm(torch.float64, [], **options)
    rows = _rows()
    cut = [{k: v[i : i + micro] for k, v in rows.items()} for i in range(0, len(LENGTHS), micro)]
    parameters = list(oracle.parameters())
    whole = torch.autograd.grad(_objective(oracle, [rows]), parameters)
    wanted = whole if over == "row" else torch.autograd.grad(_objective(oracle, cut), parameters)
    _fit(lm, micro, tmp_path, "64-true")
    for got, gradient in zip(made[0].seen[0], wanted, strict=True):
        torch.testing.assert_close(got, gradient, rtol=1e-10, atol=1e-12)
    if over == "batch" and micro < len(LENGTHS):
        assert max((a - b).abs().max().item() for a, b in zip(wanted, whole, strict=True)) > 1e-3
    names = {"z_loss", "smoothed_loss", "mtp_loss_2", "mtp_loss_3", "load_balance", "router_z_loss"}
    assert lm.train_terms.keys() == names


def two_ranks(micro: int, folder: Path) -> None:
    """Leaves the gradients of rank 0 and the one-batch gradients in `folder`; for a process of its own."""
    made: list[_KeepGradients] = []
    options: Any = {"of_network": EXPERTS | {"balance_over": "row"}, **HEAD_OPTIONS}
    lm = _lm(torch.float64, made, **options)
    lm.on_train_end = lambda: torch.save(made[0].seen[0], folder / f"rank{lm.global_rank}.pt")
    _fit(lm, micro, folder, "64-true", ranks=2)
    oracle = _lm(torch.float64, [], **options)
    torch.save(torch.autograd.grad(_objective(oracle, [_rows()]), list(oracle.parameters())), folder / "whole.pt")


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("micro", [4, 2])
def test_two_ranks_have_the_one_batch_gradient(micro: int, tmp_path: Path) -> None:
    """With the losses that only training has; ranks hold different numbers of labels, so a mean of means would differ."""
    script = (
        "import importlib.util, pathlib, sys; sys.dont_write_bytecode = True\n"
        f"spec = importlib.util.spec_from_file_location('test_lm', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec); sys.modules['test_lm'] = module\n"
        f"spec.loader.exec_module(module); module.two_ranks({micro}, pathlib.Path({str(tmp_path)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    whole = torch.load(tmp_path / "whole.pt")
    for rank in range(2):
        for got, gradient in zip(torch.load(tmp_path / f"rank{rank}.pt"), whole, strict=True):
            torch.testing.assert_close(got, gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_the_logged_loss_is_the_plain_one_and_terms_have_counts_of_their_own(tmp_path: Path) -> None:
    """A row of n labels has n - 1 of the token after the next."""
    lm, plain = _lm(torch.float64, [], **HEAD_OPTIONS), _lm(torch.float64, [])
    rows = _rows()
    for each in (lm, plain):
        for metric in each.val_metrics.values():
            metric.reset()
        each.validation_step(rows, 0)
    scores = [{name: metric.compute().item() for name, metric in each.val_metrics.items()} for each in (lm, plain)]
    assert scores[0] == scores[1]
    lm.training_step(rows, 0)
    plain.training_step(rows, 0)
    assert lm.train_totals.peek() == pytest.approx(plain.train_totals.peek(), rel=1e-7)
    counts = {name: totals.peek()[1] for name, totals in lm.train_terms.items()}
    expected = [sum(LENGTHS), sum(LENGTHS), sum(LENGTHS) - 8, sum(max(0, n - 2) for n in LENGTHS)]
    assert list(counts.values()) == expected
    assert list(counts) == ["z_loss", "smoothed_loss", "mtp_loss_2", "mtp_loss_3"]
    again = _lm(torch.float64, [], **HEAD_OPTIONS)
    again.on_load_checkpoint({"manyheads": {"train_terms": {n: t.peek() for n, t in lm.train_terms.items()}}})
    assert {n: t.take() for n, t in again.train_terms.items()} == {n: t.peek() for n, t in lm.train_terms.items()}


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_training_counts_tokens_and_totals(tmp_path: Path) -> None:
    """Two optimizer steps over all rows: 2 x 40 labels, however they were cut."""
    made: list[_KeepGradients] = []
    lm = _lm(torch.float32, made)
    _fit(lm, 2, tmp_path, "32-true")
    loss, count = lm.train_totals.take()
    assert lm.tokens_seen == count == 2 * sum(LENGTHS)
    assert loss / count == pytest.approx(math.log(VOCAB), rel=0.05)
    assert lm.train_totals.take() == (0.0, 0.0)
    assert lm.steps_done == 2
    assert lm.last_grad_norm is not None
    squares = sum(g.double().pow(2).sum().item() for g in made[0].seen[-1])
    assert lm.last_grad_norm.item() == pytest.approx(math.sqrt(squares), rel=1e-5)


@pytest.mark.parametrize(("limit", "clipped"), [(None, False), (0, False), (0.0, False), (1e-4, True)])
def test_no_limit_on_the_gradient_is_null_or_zero(limit: float | None, clipped: bool) -> None:
    """Guards a limit of 0, Lightning's word for none, that shrinks every gradient to nothing."""
    lm = _lm(torch.float32, [])
    loss = lm.forward(_rows()).loss_sum
    loss.backward()
    before = [p.grad.clone() for p in lm.parameters() if p.grad is not None]
    lm.configure_gradient_clipping(torch.optim.SGD(lm.parameters(), lr=0.1), gradient_clip_val=limit)
    after = [p.grad for p in lm.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)) != clipped
    norm = torch.linalg.vector_norm(torch.cat([g.flatten() for g in after])).item()
    assert norm == pytest.approx(1e-4 if clipped else lm.last_grad_norm.item(), rel=1e-3)  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_each_fit_looks_for_the_parameters_anew(tmp_path: Path) -> None:
    """They are looked for once in a fit: those that an earlier fit found would be normalised and clipped in their place."""
    lm = _lm(torch.float64, [])
    _fit(lm, 8, tmp_path, "64-true")
    lm.network.embedding.weight = lm.head.weight = torch.nn.Parameter(lm.head.weight.detach().clone() * 2)
    made: list[_KeepGradients] = []
    again = _lm(torch.float64, made)
    again.load_state_dict(lm.state_dict())
    _fit(again, 8, tmp_path, "64-true")
    fresh = made[0].seen[0]
    lm.optimization = again.optimization
    _fit(lm, 8, tmp_path, "64-true")
    assert all(torch.equal(one, other) for one, other in zip(made[1].seen[0], fresh, strict=True))


def test_only_lightnings_note_of_the_hook_skips_the_modules_own_bookkeeping() -> None:
    """A parameter that was set as a plain attribute would never be trained."""
    lm = _lm(torch.float32, [])
    lm.more = torch.nn.Parameter(torch.zeros(2))
    lm._current_fx_name = "training_step"
    assert "more" in dict(lm.named_parameters())
    assert lm._current_fx_name == "training_step"
