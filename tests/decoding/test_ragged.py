"""Guards left-padded prompts: a batch of them is continued token for token as each prompt alone, greedily and by draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manyheads.decoding.generate import generate
from manyheads.decoding.sampling import GREEDY, Sampling, sampling
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder

V, END = 40, 0
PROMPTS = [[3, 5, 7, 2, 9, 31, 8, 4], [], [11], [4, 4, 4], [22, 17, 1, 1, 30]]

NETWORKS: dict[str, dict[str, Any]] = {
    "rotary": {},
    "learned": {"positions": "learned", "max_positions": 14},  # fewer than a text comes to: windows move on
    "sinusoidal": {"positions": "sinusoidal"},
    "alibi": {"positions": "alibi"},
    "none": {"positions": "none"},
    "sinks": {"sinks": True},
    "window": {"window": 4},
    "window, sinks, alibi": {"window": 4, "full_every": 2, "sinks": True, "positions": "alibi"},
    "qk_norm, softcap": {"qk_norm": True, "attention_softcap": 3.0},
    "dynamic": {"rotary_scaling": "dynamic", "rotary_factor": 4.0, "original_max_positions": 6},
    "yarn": {"rotary_scaling": "yarn", "rotary_factor": 2.0, "original_max_positions": 8},
    "experts": {"num_experts": 4},
}
CHOICES: dict[str, Sampling] = {
    "greedy": GREEDY,
    "greedy, penalty": sampling(temperature=0, repetition_penalty=1.3),
    "drawn": sampling(),
    "drawn of few": sampling(temperature=0.8, top_k=12, top_p=0.95, min_p=0.01, repetition_penalty=1.2),
}


def made(end: float = -1.5, **settings: Any) -> tuple[Decoder, NextToken]:
    """Weights of 0.3, and sinks that take a share, so that a token that should not be seen changes what follows.

    `end` is added to the end token's logit: it is less likely than others, so that texts become long enough to differ."""
    torch.manual_seed(0)
    network = Decoder(vocab_size=V, dim=16, num_layers=2, num_heads=4, num_kv_heads=2, init_std=0.3, **settings)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("sinks"):
                parameter.normal_(1.0, 0.5)
    head = NextToken(dim=16, vocab_size=V, init_std=0.5, bias=True)
    with torch.no_grad():
        head.get_parameter("bias")[END] = end
    return network, head


@pytest.mark.parametrize("context", [None, 10])
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_of_ragged_prompts_is_each_prompt_alone(name: str, choice: str, context: int | None) -> None:
    network, head = made(**NETWORKS[name])
    settings: dict[str, Any] = {"end_id": END, "max_new_tokens": 16, "sampling": CHOICES[choice], "context": context}
    together = generate(network, head, PROMPTS, seed=5, **settings)
    alone = [
        generate(network, head, [prompt], seed=5, keys=[number], **settings)[0] for number, prompt in enumerate(PROMPTS)
    ]
    assert together == alone
    # texts that are short, or all one, would agree by luck
    assert max(map(len, together)) >= 12
    assert len({tuple(row) for row in together}) >= len(PROMPTS) - 1


def test_rows_that_end_early_leave_the_others_as_they_would_be_alone() -> None:
    """By draws among which the end is likely, so that the batch loses rows at several places."""
    network, head = made(end=1.5)
    settings: dict[str, Any] = {"end_id": END, "max_new_tokens": 16, "sampling": sampling()}
    lengths = set()
    for seed in range(8):
        together = generate(network, head, PROMPTS, seed=seed, **settings)
        for number, prompt in enumerate(PROMPTS):
            assert [together[number]] == generate(network, head, [prompt], seed=seed, keys=[number], **settings)
        lengths |= set(map(len, together))
    assert len(lengths) > 4
