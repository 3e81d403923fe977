"""A run of each family of networks over a loop written by hand: over plain torch.nn, or over transformers, of the same shape.

The loops read the batches of our own loaders, with AdamW, clipping and a schedule. `ngram` is in `counting`, the decoder
over its own bare loop in `throughput`, and over the Trainer in `trainer`; word vectors are beside gensim in docs/log.md.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks import plain
from benchmarks.base import Benchmark, Goal, interleave, peer
from benchmarks.trainer import one_document
from benchmarks.training import loop, on_terminal, whole
from manyheads.allocator import keep_freed_memory
from manyheads.build import CONF_DIR, build
from manyheads.rebuild import build_source, build_task
from manyheads.run.compose import compose

STEPS = 30
TEXT = ["task.seq_len=128", "task.batch_size=12"]


class Family(NamedTuple):
    """A run's settings, and the same network by hand: from the sizes of the vocabulary and of the classes."""

    settings: list[str]
    by_hand: Callable[[int, int], nn.Module]
    over: str


def recurrent(kind: type[nn.RNNBase]) -> Callable[[int, int], nn.Module]:
    """Two layers of width 192."""
    return lambda vocab_size, _: plain.Recurrent(vocab_size, kind, 192, 2)


def llama(vocab_size: int, _: int) -> nn.Module:
    """The shape of model=tiny."""
    settings = {
        "vocab_size": vocab_size, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2,
        "num_key_value_heads": 2, "intermediate_size": 384, "tie_word_embeddings": True, "use_cache": False,
        "max_position_embeddings": 128,
    }  # fmt: skip
    reads = {"input_ids": "input_ids", "labels": "labels", "shift_labels": "labels"}
    return plain.Theirs("LlamaConfig", "LlamaForCausalLM", settings, reads)


def bert(vocab_size: int, _: int) -> nn.Module:
    """The shape of experiment=bert_small, without pairs."""
    settings = {
        "vocab_size": vocab_size, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 512, "max_position_embeddings": 128,
    }  # fmt: skip
    return plain.Theirs("BertConfig", "BertForMaskedLM", settings, {"input_ids": "input_ids", "labels": "labels"})


SEQ2SEQ = {
    "input_ids": "source_ids", "attention_mask": "source_segments", "decoder_input_ids": "input_ids", "labels": "labels",
}  # fmt: skip


def t5(vocab_size: int, _: int) -> nn.Module:
    """The shape of experiment=t5_small."""
    settings = {
        "vocab_size": vocab_size, "d_model": 128, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "d_kv": 32,
        "d_ff": 512, "feed_forward_proj": "relu",
    }  # fmt: skip
    return plain.Theirs("T5Config", "T5ForConditionalGeneration", settings, SEQ2SEQ)


def bart(vocab_size: int, _: int) -> nn.Module:
    """The shape of experiment=bart_small."""
    settings = {
        "vocab_size": vocab_size, "d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "max_position_embeddings": 256,
    }  # fmt: skip
    return plain.Theirs("BartConfig", "BartForConditionalGeneration", settings, SEQ2SEQ)


HAND, THEIRS = "plain torch.nn", "transformers in a plain loop"
CLASSES = ["task=classification", "head=label", "task.batch_size=64"]
FAMILIES = {
    "rnn": Family(["model=rnn", "model.dim=192", *TEXT], recurrent(nn.RNN), HAND),
    "gru": Family(["model=gru", "model.dim=192", *TEXT], recurrent(nn.GRU), HAND),
    "lstm": Family(["model=lstm", *TEXT], recurrent(nn.LSTM), HAND),
    "feedforward": Family(["model=feedforward", *TEXT], lambda v, _: plain.Window(v, 128, 8, 512, 2), HAND),
    "textcnn": Family(
        ["model=textcnn", "head.pool=max", *CLASSES], lambda v, c: plain.Filters(v, c, 128, 100, (3, 4, 5)), HAND
    ),
    "bag_of_embeddings": Family(["model=bag_of_embeddings", *CLASSES], lambda v, c: plain.Bag(v, c, 64, 100_000), HAND),
    "seq2seq_lstm": Family(
        ["task=translation", "model=seq2seq_lstm"], lambda v, _: plain.Translator(v, 128, 256), HAND
    ),
    "transformer": Family(["model=tiny", *TEXT], llama, THEIRS),
    "bert": Family(["experiment=bert_small", "task.next_sentence=false", "task.seq_len=128"], bert, THEIRS),
    "t5": Family(["experiment=t5_small"], t5, THEIRS),
    "bart": Family(["experiment=bart_small"], bart, THEIRS),
}
LEAST = {HAND: 0.97, THEIRS: 1.02}


def parts(family: Family, settings: list[str]) -> tuple[Any, nn.Module]:
    """The task of a run, and the network by hand."""
    cfg = compose("train", settings, CONF_DIR).config
    torch.manual_seed(cfg.seed)
    source = build_source(cfg)
    task: Any = build_task(cfg, source, build(cfg.tokenizer, "tokenizer", source=source))
    return task, family.by_hand(task.tokenizer.vocab_size, len(getattr(task, "labels", ()))).train()


def by_hand(family: Family, settings: list[str], steps: int) -> float:
    """Seconds per step of the network by hand, in a loop by hand, over the batches of a run."""
    keep_freed_memory()
    task, network = parts(family, settings)
    weights = list(network.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-3, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 100))
    return loop(network, lambda epoch: task.train_dataloader(), weights, optimizer, scheduler, steps)


def measure(rounds: int) -> dict[str, list[float]]:
    """A run's tokens/s over those of the loop by hand."""
    peer("transformers")
    os.environ["WANDB_MODE"] = "offline"
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "document.txt"
        one_document(text)
        for name, family in FAMILIES.items():
            settings = [*family.settings, "optim=adamw", "baselines=false"]
            if family.settings[-len(TEXT) :] == TEXT:
                settings += ["data=text", f"data.path={text}"]
            times = interleave(
                rounds,
                partial(on_terminal, by_hand, family, settings, STEPS),
                partial(on_terminal, whole, settings, STEPS),
            )
            found[name] = [plainly / run for plainly, run in times]
            found[f"{name}_step"] = [1e3 * plainly for plainly, _ in times]
    return found


BENCHMARK = Benchmark(
    name="families",
    peer="by hand",
    measure=measure,
    goals={
        key: goal
        for name, family in FAMILIES.items()
        for key, goal in (
            (name, Goal(f"{name}: tokens/s over {family.over}", LEAST[family.over])),
            (f"{name}_step", Goal(f"{name}: the step by hand", unit="ms")),
        )
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
