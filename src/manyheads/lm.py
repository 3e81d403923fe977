"""LM: a network and a head as one LightningModule. It is handed its parts and knows no task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from manyheads import ranks, sharded
from manyheads.batch import Batch
from manyheads.head.base import Auxiliary, Head, Objective
from manyheads.metric.base import Metric
from manyheads.metric.output import OutputReader
from manyheads.metric.sums import Totals
from manyheads.optim.base import set_again, settings_of
from manyheads.optim.budget import Budget
from manyheads.scored_lm import ScoredLM

LOSS_UNIT = 1024.0
"""What the sum of losses is divided by before backward: a power of two, so the division is exact. It only keeps the
numbers of half-precision gradients in range and is multiplied back when gradients are normalised."""

SET_OFTEN = frozenset({"_current_fx_name", "_step_count", "_step_tokens", "_tokens", "steps_done", "last_grad_norm"})

EMPTY_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
)
"""Of every step. Lightning passes over what it cannot call."""


class LM(ScoredLM):
    """Trains and scores a network with a head.

    `training_step` returns a sum, never a mean: gradients are divided once, before the optimizer's step, by the number
    of label tokens in all micro-batches of all ranks.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        head: Head,
        metrics: Sequence[type[Metric]],
        optimization: Callable[..., Any] | None = None,
        budget: Budget | None = None,
        record: Callable[[LM], Mapping[str, Any]] | None = None,
        outputs: OutputReader | None = None,
    ) -> None:
        """`optimization(module=...)` makes the optimizer and its schedule; `record(lm)` goes into each checkpoint;
        `outputs` reads more from the network than losses when it is scored."""
        super().__init__(network=network, head=head, metrics=metrics, outputs=outputs)
        self.optimization = optimization
        self.budget = budget or Budget(max_steps=1)
        self.record = record
        self.train_totals = Totals()
        self.train_terms: dict[str, Totals] = {}  # of the losses that only training has
        self.steps_done = 0
        self.last_grad_norm: Tensor | None = None
        self.accepts_gradients: Callable[[Tensor], bool] | None = None  # by their norm; None: always
        self.before_clipping: Callable[[], None] | None = None  # called when the step's gradients are complete
        self._step_count: Tensor | None = None
        self._step_tokens: Tensor | None = None  # that were read, where they are not the labels
        self._tokens: Tensor | int = 0
        self._total_steps: float | None = None
        self._weights: list[nn.Parameter] | None = None
        self.__dict__.update(dict.fromkeys(EMPTY_HOOKS))
        self._asked: list[dict[str, Any]] = []  # the optimizer's settings, before a checkpoint's are loaded over them

    def __setattr__(self, name: str, value: Any) -> None:
        # a module looks at each value for a parameter, and these are set often: Lightning notes which hook it is in
        # some fifty times a step
        if name in SET_OFTEN:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_fit_start(self) -> None:
        """Forgets what an earlier fit had: its number of steps, and the parameters that it found."""
        self._total_steps = self._weights = None

    def on_train_start(self) -> None:
        """Starts the clock of the budget; a resumed run takes the optimizer's settings that it is given now."""
        self._total_steps = self._count_steps()  # only now is it known where a resumed run goes on
        for config in self.trainer.lr_scheduler_configs:
            assert isinstance(config.scheduler, LambdaLR)
            set_again(self.trainer.optimizers[0], config.scheduler, self._asked)
        self.budget.start()

    def on_train_end(self) -> None:
        """Stops the clock of the budget."""
        self.budget.stop()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The batch's sum of losses, [], in units that `on_before_optimizer_step` undoes."""
        count: Callable[[Batch], Tensor] | None = getattr(self.network, "count", None)
        if count is not None:  # there is no loss: it learns by looking
            self._note_step(self.head.learned(batch).sum(), batch)
            return count(batch)
        total, output, terms = self.objective(batch)
        self.train_totals.add(output)
        for name, term in terms.items():
            self.train_terms.setdefault(name, Totals()).add(term)
        self._note_step(output.count, batch)
        return total / LOSS_UNIT

    def _note_step(self, labels: Tensor, batch: Batch) -> None:
        """Adds a micro-batch to what the step is divided by."""
        self._step_count = labels if self._step_count is None else self._step_count + labels
        if (read := batch.get("num_tokens")) is not None:
            self._step_tokens = read if self._step_tokens is None else self._step_tokens + read

    def objective(self, batch: Batch) -> Objective:
        """What training minimises: the head's objective, and what the network adds to it."""
        objective = self.head.objective(self.network(batch), batch)
        auxiliary = self._auxiliary_losses(batch)
        if auxiliary is None:
            return objective
        total, terms = objective.total + auxiliary.total, {**objective.terms, **auxiliary.terms}
        return objective._replace(total=total, terms=terms)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divides the gradients by the true token count (Lightning has divided by micro-batches, DDP by ranks that read
        different rows), and ends the run with this step when its budget is used up."""
        assert self._step_count is not None
        on_cpu = self.device.type == "cpu"
        count = self._step_count.detach().to(torch.float64 if on_cpu else torch.float32)
        if self._step_tokens is not None:
            count = torch.stack([count, self._step_tokens.to(count)])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(count, group=ranks.data_parallel())
        labels, tokens = (count, count) if self._step_tokens is None else count
        if on_cpu:
            least, tokens = max(int(labels), 1), int(tokens)
        else:
            least = labels.clamp(min=1)
        factor = LOSS_UNIT * self.trainer.accumulate_grad_batches * ranks.data_parallel_size() / least
        gradients = [sharded.local(p.grad) for p in self._parameters_once() if p.grad is not None]
        if isinstance(factor, Tensor) and gradients:
            factor = factor.to(gradients[0].device)  # which is the CPU where weights are offloaded
        torch._foreach_mul_(gradients, factor)  # pyright: ignore[reportPrivateImportUsage]
        self._tokens = self._tokens + tokens
        self._step_count = self._step_tokens = None
        # here and not at the batch's end, since callbacks save or leave there before this module's own hook is called
        self.steps_done = self.trainer.global_step + 1
        if self.budget.max_tokens is not None:
            self.budget.tokens = self.tokens_seen
        if self.budget.max_minutes is not None and self.trainer.world_size > 1:
            # clocks differ: with rates of their own, or an end of their own, ranks would part
            self.budget.hold(self.trainer.strategy.broadcast(self.budget.seconds))
        if self.budget.exhausted(self.steps_done, self.total_steps()):
            self.trainer.should_stop = True  # after one last validation

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by the norm over all parameters and keeps the norm for the log; gradients that are not accepted are
        dropped, and an optimizer leaves parameters without a gradient as they are."""
        if self.before_clipping is not None:
            self.before_clipping()
        limit = gradient_clip_val or float("inf")  # 0 is no limit, as in Lightning
        self.last_grad_norm = sharded.clip_gradients(self._parameters_once(), limit)
        if self.accepts_gradients is not None and not self.accepts_gradients(self.last_grad_norm):
            self.zero_grad(set_to_none=True)

    def configure_optimizers(self) -> Any:
        """The optimizer, and its schedule as a factor of the budget used."""
        assert self.optimization is not None, "this LM was built for evaluation alone"
        optimizer, schedule = self.optimization(module=self)
        scheduler = LambdaLR(optimizer, lambda step: schedule.factor(step, self.progress(step), self.total_steps()))
        self._asked = settings_of(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @property
    def num_parameters(self) -> int:
        """Trained and not, tied ones once; of a network that counts, the numbers that its probabilities are made of."""
        return sum(p.numel() for p in self.parameters()) + getattr(self.network, "num_counted", 0)

    @property
    def tokens_seen(self) -> int:
        """Tokens that the optimizer has stepped on, over all ranks: labels, or what was read where labels are no tokens."""
        return int(self._tokens)

    def total_steps(self) -> float:
        """Optimizer steps that the step and epoch limits allow; infinity when only minutes or tokens limit the run."""
        return self._count_steps() if self._total_steps is None else self._total_steps

    def _count_steps(self) -> float:
        """Those made, which another batch size or accumulation may have made, and those that the limits still allow."""
        trainer = self.trainer
        estimated = float(trainer.estimated_stepping_batches)  # of a run that begins
        batches, together = trainer.num_training_batches, trainer.accumulate_grad_batches
        if not trainer.max_epochs or trainer.max_epochs < 0 or math.isinf(batches):
            return estimated
        loop: Any = trainer.fit_loop
        epochs, epoch = loop.epoch_progress.current, math.ceil(batches / together)
        read = loop.epoch_loop.batch_progress.current.processed if epochs.ready > epochs.processed else 0
        begun = epoch if read >= batches else read // together  # steps of the epoch that it is in
        steps = trainer.global_step + (trainer.max_epochs - epochs.processed) * epoch - begun
        return float(steps if trainer.max_steps < 0 else min(steps, trainer.max_steps))

    def progress(self, step: int | None = None) -> float:
        """The share of the budget that is used, 0 to 1."""
        return self.budget.fraction(self.trainer.global_step if step is None else step, self.total_steps())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Puts the run's record beside the weights, so that the file rebuilds itself."""
        checkpoint["manyheads"] = {
            **(self.record(self) if self.record else {}),
            "step": int(self.trainer.global_step),
            "tokens_seen": self.tokens_seen,
            "budget": self.budget.state_dict(),
            "train_totals": self.train_totals.peek(),
            "train_terms": {name: totals.peek() for name, totals in self.train_terms.items()},
            "scores": dict(self.scores),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the counts and the budget where the checkpoint left them."""
        record = checkpoint.get("manyheads", {})
        self._tokens = record.get("tokens_seen", 0)
        self.steps_done = record.get("step", 0)
        self.budget.load_state_dict(record.get("budget", {}))
        self.train_totals.start_from(*record.get("train_totals", (0.0, 0.0)))
        for name, sums in record.get("train_terms", {}).items():
            self.train_terms.setdefault(name, Totals()).start_from(*sums)

    def _parameters_once(self) -> list[nn.Parameter]:
        """All parameters, looked for once in a fit: the search goes through every part, metrics too, at every step."""
        if self._weights is None:
            self._weights = list(self.parameters())
        return self._weights

    def _auxiliary_losses(self, batch: Batch) -> Auxiliary | None:
        """What the network adds to the loss of the batch that it has just read, if it is one that adds anything."""
        losses: Callable[[Batch], Auxiliary | None] | None = getattr(self.network, "auxiliary_losses", None)
        return None if losses is None else losses(batch)
