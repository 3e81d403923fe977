"""Our run over the `transformers` Trainer: the same weights, rows, order, optimizer and schedule.

The Trainer has its defaults and the data path of its examples (a `datasets.Dataset` and the default collator), and logs
every 10 steps to W&B offline as ours does; ours has all of its callbacks and CSV besides. Each side has a process of its
own, and so the allocator's settings that it makes (manyheads.allocator). The text is one document, so that no row needs a mask. Told beside it: the Trainer with our loader instead of its own data path, and with
its own data path and transformers' own Llama of the same weights, whose loss is asserted to be ours first.
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.base import Apart, Benchmark, Goal, interleave, peer
from manyheads.build import CONF_DIR, build
from manyheads.run.compose import compose

LONG_STEPS, SHORT_STEPS = 50, 2_000


def one_document(path: Path) -> None:
    """Writes the training texts of the default data as one text."""
    cfg = compose("train", [], CONF_DIR).config
    texts = [text for batch in build(cfg.data, "data").texts("train") for text in batch]
    path.write_text(" ".join(texts).replace("\n", " "), encoding="utf-8")


def trained(settings: list[str], steps: int, *, our_loader: bool = False, their_network: bool = False) -> float:
    """Seconds per step of the Trainer, with its data path or our loader, our network or theirs."""
    import datasets
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
            return loader if our_loader else super().get_train_dataloader()

        def _get_train_sampler(self, *_: Any) -> range:
            return range(len(used))

    class Clock(transformers.TrainerCallback):
        seconds = 0.0

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.seconds -= time.perf_counter()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            self.seconds += time.perf_counter()

    model, optimizer, scheduler = Ours(), made.optimizer, made.scheduler
    loader = DataLoader(made.rows, batch_sampler=made.order, collate_fn=as_is)
    batch = next(iter(loader))
    drawn = (made.rows[row] for rows in made.order for row in rows)
    width = batch["input_ids"].shape[1]  # the document's last row is shorter, and their collator pads none
    used = list(islice((row for row in drawn if row["input_ids"].shape[1] == width), steps * len(batch["input_ids"])))
    blocks = datasets.Dataset.from_dict(
        {name: [row[name][0].tolist() for row in used] for name in ("input_ids", "labels")}  # type: ignore[literal-required]
    )
    with torch.no_grad():
        output = made.head(made.network(batch), batch)
        same = (model(**batch)["loss"], *([Theirs()(**batch)["loss"]] if their_network else []))
    torch.testing.assert_close(torch.stack(same), (output.loss_sum / output.count).expand(len(same)))
    if their_network:
        model = Theirs()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    arguments = transformers.TrainingArguments(
        output_dir="trainer",
        max_steps=steps,
        per_device_train_batch_size=len(batch["input_ids"]),
        logging_steps=10,
        max_grad_norm=1.0,
        save_strategy="no",
        report_to=["wandb"],
        use_cpu=True,
        remove_unused_columns=False,
    )
    clock = Clock()
    trainer = Trainer(
        model=model, args=arguments, train_dataset=blocks, optimizers=(optimizer, scheduler), callbacks=[clock]
    )
    trainer.train()
    assert trainer.state.global_step == steps
    return clock.seconds / steps


def measure(rounds: int) -> dict[str, list[float]]:
    """Steps/s over the Trainer's."""
    from benchmarks.training import SHORT, long_step, on_terminal, whole

    peer("transformers")
    peer("accelerate")
    os.environ["WANDB_MODE"] = "offline"
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "document.txt"
        one_document(text)
        for name, settings, steps in (("long", long_step(), LONG_STEPS), ("short", SHORT, SHORT_STEPS)):
            settings = [*settings, "data=text", f"data.path={text}"]
            adamw = [*settings, "optim=adamw"]
            times = interleave(
                rounds,
                Apart(partial(on_terminal, whole, settings, steps)),
                Apart(partial(on_terminal, trained, settings, steps)),
                Apart(partial(on_terminal, trained, settings, steps, our_loader=True)),
                Apart(partial(on_terminal, trained, adamw, steps, their_network=True)),
                Apart(partial(on_terminal, whole, adamw, steps)),
            )
            found[name] = [theirs / ours for ours, theirs, *_ in times]
            found[f"{name}_loader"] = [theirs / ours for ours, _, theirs, *_ in times]
            found[f"{name}_network"] = [theirs / ours for *_, theirs, ours in times]
    return found


BENCHMARK = Benchmark(
    name="trainer",
    peer="transformers Trainer",
    measure=measure,
    goals={
        "long": Goal("steps/s, same network, long step", 1.02),
        "short": Goal("steps/s, same network, short step", 1.5),
        "long_loader": Goal("steps/s, same network and our loader, long step"),
        "short_loader": Goal("steps/s, same network and our loader, short step"),
        "long_network": Goal("steps/s, its own Llama of these weights and AdamW, long step"),
        "short_network": Goal("steps/s, its own Llama of these weights and AdamW, short step"),
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
