"""Guards export/: `transformers` opens it and finds what was trained."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import manyheads

GPT2 = [
    "model.norm=layernorm", "model.positions=learned", "model.max_positions=64", "model.activation=gelu_tanh",
    "model.bias=true",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("words", "layout"),
    [
        (["model.num_kv_heads=1"], "llama"),
        pytest.param([*GPT2, "tokenizer=bpe", "tokenizer.vocab_size=300"], "gpt2", marks=pytest.mark.slow),
    ],
)
def test_transformers_gives_the_same_logits_and_loss(
    words: list[str], layout: str, cli: Callable[..., Any], tiny: list[str], texts: dict[str, list[str]]
) -> None:
    transformers = pytest.importorskip("transformers")
    done = cli("train", *tiny, *words)
    assert done.code == 0, done.err
    export = done.folder / "export"
    assert json.loads((export / "config.json").read_text(encoding="utf-8"))["model_type"] == layout
    model = transformers.AutoModelForCausalLM.from_pretrained(export).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(export)
    lm = manyheads.load(done.folder)
    end = lm.tokenizer.end_id
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == model.config.eos_token_id == end
    loss, tokens = 0.0, 0
    for text in texts["test"]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == lm.tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        whole = [end, *ids, end]
        for start in range(0, len(whole) - 1, 32):
            window = torch.tensor([whole[start : start + 33]])
            with torch.no_grad():
                theirs = model(window[:, :-1]).logits
                ours = lm.head.logits(lm.network({"input_ids": window[:, :-1]}))
            assert torch.allclose(theirs, ours, atol=1e-5)
            labels = window[0, 1:]
            loss += float(torch.nn.functional.cross_entropy(theirs[0].double(), labels, reduction="sum"))
            tokens += len(labels)
    test = done.results["test"]
    assert loss / tokens == pytest.approx(test["loss"], rel=1e-5)
    assert math.exp(loss / tokens) == pytest.approx(test["perplexity"], rel=1e-5)
    card = (export / "README.md").read_text(encoding="utf-8")
    assert f"{test['bits_per_byte']:.4f}" in card
