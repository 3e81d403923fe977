"""Guards export/: `transformers` opens it and finds what was trained."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import manyheads
from manyheads.errors import UserError
from manyheads.model.hugging_face import from_hugging_face

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


OWN = """
from typing import ClassVar

from torch import Tensor, nn

from manyheads.batch import Batch


class Recurrent(nn.Module):
    kind: ClassVar[str] = "causal"

    def __init__(self, *, vocab_size: int, dim: int = 16, tied: bool = True) -> None:
        super().__init__()
        self.dim, self.max_positions = dim, None
        self.embed = nn.Embedding(vocab_size, dim)
        self.rnn = nn.GRU(dim, dim, batch_first=True)
        self.output_weight = self.embed.weight if tied else None

    def forward(self, batch: Batch, cache: object = None) -> Tensor:
        return self.rnn(self.embed(batch["input_ids"]))[0]
"""


@pytest.mark.parametrize("tied", [True, False])
def test_a_network_of_ones_own_is_exported_under_its_own_names(
    tied: bool, cli: Callable[..., Any], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best weights, each once; nobody takes them for a Decoder's."""
    (tmp_path / "own_recurrent.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own" / "model").mkdir(parents=True)
    node = f"_target_: own_recurrent.Recurrent\ntied: {str(tied).lower()}\n"
    (tmp_path / "own" / "model" / "recurrent.yaml").write_text(node)
    words = [word for word in tiny if not word.startswith("model.")]
    own = ["--config-dir", "own", "model=recurrent", "allow=[own_recurrent]", "++callbacks.samples=0"]
    done = cli("train", *words, *own)
    assert (done.code, done.err) == (0, "")
    export = done.folder / "export"
    config = json.loads((export / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["architectures"]) == ("manyheads", ["Recurrent"])
    tensors = load_file(export / "model.safetensors")
    best = torch.load(done.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert best.keys() - tensors.keys() == ({"head.weight"} if tied else set())
    assert all(torch.equal(value, best[name]) for name, value in tensors.items())
    assert (export / "tokenizer.json").is_file()
    assert "load it with manyheads" in (export / "README.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"architectures=Recurrent is no network of manyheads"):
        from_hugging_face(config, tensors)
