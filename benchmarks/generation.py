"""Greedy text with the cache over `transformers.generate`, which has loaded our export of the same weights.

The peer has its default dynamic cache, within inference mode. It is asserted that both wrote the same tokens. Weights are
random, larger than a start's, so that texts differ.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.base import Benchmark, Goal, interleave, peer

PROMPT = 16
TINY: dict[str, Any] = {"vocab_size": 2_048, "dim": 128, "num_layers": 4, "num_heads": 2, "init_std": 0.1}
GPT2: dict[str, Any] = {
    "vocab_size": 50_257,
    "dim": 768,
    "num_layers": 12,
    "num_heads": 12,
    "activation": "gelu_tanh",
    "norm": "layernorm",
    "positions": "learned",
    "max_positions": 1_024,
    "bias": True,
    "init_std": 0.05,
}


def measure(rounds: int) -> dict[str, list[float]]:
    """Tokens/s over transformers', for each network and batch size."""
    peer("transformers")
    found = {}
    for name, settings, new in (("tiny", TINY, 128), ("gpt2", GPT2, 16)):
        for rows in (1, 8):
            times = _compare(settings, rows, new, rounds)
            found[f"{name}_{rows}"] = [other / own for own, other in times]
    return found


def _compare(settings: dict[str, Any], rows: int, new: int, rounds: int) -> list[tuple[float, ...]]:
    import torch
    from safetensors.torch import save_file

    from manyheads.decoding.generate import generate
    from manyheads.head.next_token import NextToken
    from manyheads.model.decoder import Decoder
    from manyheads.model.hugging_face import to_hugging_face

    transformers = peer("transformers")
    torch.manual_seed(0)
    network = Decoder(**settings).eval()
    head = NextToken(dim=network.dim, vocab_size=network.vocab_size, weight=network.output_weight).eval()
    end = network.vocab_size - 1
    with tempfile.TemporaryDirectory() as folder:
        config, tensors = to_hugging_face(network, head, end_id=end)
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(tensors, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        other = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    prompts = torch.randint(0, end, (rows, PROMPT - 1)).tolist()
    ids = torch.tensor([[end, *prompt] for prompt in prompts])
    written: dict[str, list[list[int]]] = {}

    def ours() -> float:
        started = time.perf_counter()
        written["ours"] = generate(network, head, prompts, end_id=end, max_new_tokens=new)
        return time.perf_counter() - started

    def theirs() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            output = other.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, pad_token_id=end
            )
        elapsed = time.perf_counter() - started
        written["theirs"] = output[:, ids.shape[1] :].tolist()
        return elapsed

    times = interleave(rounds, ours, theirs)
    assert written["ours"] == [row[: row.index(end)] if end in row else row for row in written["theirs"]]
    return times


BENCHMARK = Benchmark(
    name="generation",
    peer="transformers.generate",
    measure=measure,
    goals={
        "tiny_1": Goal("tokens/s, 4 layers of 128, batch 1", 1.8),
        "tiny_8": Goal("tokens/s, 4 layers of 128, batch 8", 1.8),
        "gpt2_1": Goal("tokens/s, GPT-2 small, batch 1", 1.1),
        "gpt2_8": Goal("tokens/s, GPT-2 small, batch 8", 1.1),
    },
)

if __name__ == "__main__":
    BENCHMARK.main()
