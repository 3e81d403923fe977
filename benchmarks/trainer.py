"""Our run over the `transformers` Trainer: the same weights, batches, order, optimizer and schedule.

The Trainer has its defaults, logs every 10 steps as ours does, and reports to nobody; ours has all of its callbacks, CSV
and W&B offline. Told beside it: what the Trainer takes with transformers' own Llama of the same weights, whose
loss is asserted to be ours first. (Between the documents of a packed row it does not keep apart what ours does.)
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from benchmarks.base import Benchmark, Goal, interleave, peer

LONG_STEPS, SHORT_STEPS = 30, 500


def trained(settings: list[str], steps: int, *, theirs: bool) -> float:
    """Seconds per step of the Trainer, with our network or theirs."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader

    from benchmarks.training import parts
    from manyheads.batch import Batch
    from manyheads.data.batches import as_is
    from manyheads.model.hugging_face import to_hugging_face

    transformers = peer("transformers")
    made = parts(settings, steps)

    class Ours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.head = made.network, made.head

        def forward(self, **batch: Any) -> dict[str, Any]:
            output = self.head(self.network(Batch(**batch)), Batch(**batch))
            return {"loss": output.loss_sum / output.count}

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config, tensors = to_hugging_face(made.network, made.head)  # type: ignore[arg-type]
            self.llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
            self.llama.load_state_dict(tensors, strict=False)
            self.llama.tie_weights()

        def forward(self, input_ids: Any, labels: Any, positions: Any = None, segments: Any = None) -> dict[str, Any]:
            found = self.llama(
                input_ids=input_ids, position_ids=positions, labels=labels, shift_labels=labels, use_cache=False
            )
            return {"loss": found.loss}

    class Trainer(transformers.Trainer):
        def get_train_dataloader(self) -> DataLoader:
            return DataLoader(made.rows, batch_sampler=made.order, collate_fn=as_is)

    class Clock(transformers.TrainerCallback):
        seconds = 0.0

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.seconds -= time.perf_counter()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            self.seconds += time.perf_counter()

    model, optimizer, scheduler = Ours(), made.optimizer, made.scheduler
    batch = next(b for b in map(made.rows.__getitem__, range(len(made.rows))) if "segments" not in b)
    with torch.no_grad():
        output = made.head(made.network(batch), batch)
        same = (model(**batch)["loss"], *([] if not theirs else [Theirs()(**batch)["loss"]]))
    torch.testing.assert_close(torch.stack(same), (output.loss_sum / output.count).expand(len(same)))
    if theirs:
        model = Theirs()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    arguments = transformers.TrainingArguments(
        output_dir="trainer",
        max_steps=steps,
        logging_steps=10,
        max_grad_norm=1.0,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        remove_unused_columns=False,
    )
    clock = Clock()
    trainer = Trainer(
        model=model, args=arguments, train_dataset=made.rows, optimizers=(optimizer, scheduler), callbacks=[clock]
    )
    trainer.train()
    assert trainer.state.global_step == steps
    return clock.seconds / steps


def measure(rounds: int) -> dict[str, list[float]]:
    """Steps/s over the Trainer's."""
    from benchmarks.training import LONG, SHORT, terminal, whole

    peer("transformers")
    peer("accelerate")
    found = {}
    with terminal():
        for name, settings, steps in (("long", LONG, LONG_STEPS), ("short", SHORT, SHORT_STEPS)):
            times = interleave(
                rounds,
                partial(whole, settings, steps),
                partial(trained, settings, steps, theirs=False),
                partial(trained, [*settings, "optim=adamw"], steps, theirs=True),
                partial(whole, [*settings, "optim=adamw"], steps),
            )
            found[name] = [same / ours for ours, same, _, _ in times]
            found[f"{name}_theirs"] = [other / ours for _, _, other, ours in times]
    return found


BENCHMARK = Benchmark(
    name="trainer",
    peer="transformers Trainer",
    measure=measure,
    goals={
        "long": Goal("steps/s, same network, long step", 1.02),
        "short": Goal("steps/s, same network, short step", 1.5),
        "long_theirs": Goal("steps/s, its own Llama of these weights and AdamW, long step"),
        "short_theirs": Goal("steps/s, its own Llama of these weights and AdamW, short step"),
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
