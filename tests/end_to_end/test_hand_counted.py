"""Guards every number from the head to results.json: a real network whose losses are whole numbers of bits, and texts
whose bits, tokens and bytes are counted here by hand.

The embedding is the unit matrix, tied to the head; the block adds nothing; the last norm is scaled so that a token's own
logit is 8 ln 2 and every other one 0. So, over 257 tokens, a token that repeats the one before it has probability
256 / (256 + 256) and costs 1 bit; each other one has 1 / 512 and costs 9.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.testing import TINY_CONFIG, tiny_checkpoint

V = 257
SETTINGS = {"dim": V, "num_layers": 1, "num_heads": 1, "ff_dim": 1, "positions": "none"}

# text: (bits, repeats, tokens with the end, bytes), the end token E before it and after it
TRAIN = {"aaab": (9 + 1 + 1 + 9 + 9, 2, 5, 4)}  # E>a a>a a>a a>b b>E
VALIDATION = {
    "aa": (9 + 1 + 9, 1, 3, 2),  # E>a a>a a>E
    "bcd": (9 + 9 + 9 + 9, 0, 4, 3),  # E>b b>c c>d d>E
}
TEST = {
    "aaaa": (9 + 1 + 1 + 1 + 9, 3, 5, 4),  # the row's four labels and, in a window of its own, a>E
    "xyy": (9 + 9 + 1 + 9, 1, 4, 3),
    "é": (9 + 9 + 9, 0, 3, 2),  # C3 A9
    "bbbbbbbb": (9 + 7 + 9, 7, 9, 8),  # three windows
}


def known(path: Path) -> None:
    """Writes a checkpoint of that network."""
    network = Decoder(vocab_size=V, **SETTINGS)  # type: ignore[arg-type]
    head = NextToken(dim=V, vocab_size=V, weight=network.output_weight)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("attention.output.weight", "down.weight")):
                parameter.zero_()
        network.embedding.weight.copy_(torch.eye(V))
        network.final_norm.weight.fill_(8 * math.log(2) * math.sqrt(1 / V + 1e-5))  # RMSNorm's root and its eps
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    state |= {f"head.{name}": value for name, value in head.state_dict().items()}
    config = TINY_CONFIG + "tokenizer: {_target_: manyheads.tokenizer.byte.byte}\n"
    torch.save({**tiny_checkpoint(config=config), "state_dict": state}, path)


def check(scores: dict[str, float], texts: dict[str, tuple[int, int, int, int]], tolerance: float) -> None:
    bits, repeats, tokens, size = map(sum, zip(*texts.values(), strict=True))
    assert scores["loss"] == pytest.approx(bits * math.log(2) / tokens, rel=tolerance)
    assert scores["perplexity"] == pytest.approx(2 ** (bits / tokens), rel=tolerance)
    assert scores["bits_per_byte"] == pytest.approx(bits / size, rel=tolerance)
    assert scores["accuracy"] == pytest.approx(repeats / tokens, rel=1e-15)


@pytest.mark.parametrize("pack", [True, False])
def test_bits_tokens_and_bytes_counted_by_hand_stand_in_results_json(
    pack: bool, cli: Callable[..., Any], tmp_path: Path
) -> None:
    """A rate of 0 keeps the weights through a whole training, which logs the loss that they have."""
    known(tmp_path / "known.ckpt")
    (tmp_path / "rows").mkdir()
    for split, texts in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST)):
        lines = [json.dumps({"text": text}) for text in texts]
        (tmp_path / "rows" / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = cli(
        "train", "init=known.ckpt", "data=json", "data.path=rows", "tokenizer=byte", "logger=csv",
        *(f"model.{name}={value}" for name, value in SETTINGS.items()), "optim=sgd", "optim.lr=0",
        "trainer.max_steps=2", "trainer.log_every_n_steps=1", "task.seq_len=4", "task.batch_size=3", f"task.pack={pack}",
        "++callbacks.samples=0",
    )  # fmt: skip
    assert done.code == 0, done.err
    check(done.results["val"], VALIDATION, 1e-6)
    check(done.results["test"], TEST, 1e-6)
    [(bits, _, tokens, _)] = TRAIN.values()
    assert done.results["run"]["tokens_seen"] == 2 * tokens
    for row in done.metrics[:2]:
        assert row["train/loss"] == pytest.approx(bits * math.log(2) / tokens, rel=1e-6)
    rows = [json.loads(line) for line in (done.folder / "predictions" / "test.jsonl").read_text().splitlines()]
    counted = [(row["id"], row["tokens"], row["bytes"]) for row in rows]
    assert counted == [(number, tokens, size) for number, (_, _, tokens, size) in enumerate(TEST.values())]
    for row, (bits, _, _, size) in zip(rows, TEST.values(), strict=True):
        assert row["loss"] == pytest.approx(bits * math.log(2), rel=1e-6)
        assert row["bits_per_byte"] == pytest.approx(bits / size, rel=1e-6)
    for size in (1, 7):
        words = [f"run={done.folder}", f"task.eval_batch_size={size}", "trainer.precision=64-true", "to=figures.json"]
        assert cli("eval", *words).code == 0
        figures = json.loads(Path("figures.json").read_text())
        check(figures["val"], VALIDATION, 1e-6)
        check(figures["test"], TEST, 1e-6)
        Path("figures.json").unlink()
