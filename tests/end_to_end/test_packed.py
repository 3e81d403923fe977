"""Guards documents that see each other, or places that run on, in a packed or padded batch: from texts through the task's
loader, loss and gradients are those of the documents one by one, each in a batch of its own that is made here by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manyheads.batch import Batch
from manyheads.head.next_token import NextToken
from manyheads.lm import LM
from manyheads.model.decoder import Decoder
from manyheads.task.generation import Generation
from manyheads.testing import Rows, byte_tokenizer

SEQ_LEN = 24
END = 256
# one to eleven tokens, one that fills a row and one that is cut into three windows
TEXTS = [
    "a",
    "of it",
    "the words",
    "é☃",
    "and a",
    "x" * 9 + "y" * (SEQ_LEN - 10),
    "in that was for " * 4,
    "his",
    "to you",
]

NETWORKS: dict[str, dict[str, Any]] = {
    "rotary": {},
    "learned": {"positions": "learned", "max_positions": SEQ_LEN},
    "sinusoidal": {"positions": "sinusoidal"},
    "alibi": {"positions": "alibi"},
    "none": {"positions": "none"},
    "window": {"window": 3},
    "full_every": {"window": 4, "full_every": 2},
    "qk_norm": {"qk_norm": True},
    "sinks, softcap": {"sinks": True, "attention_softcap": 5.0},
    "alibi, window": {"positions": "alibi", "window": 5},
    "dynamic": {"rotary_scaling": "dynamic", "rotary_factor": 4.0, "original_max_positions": 6},
    "yarn": {"rotary_scaling": "yarn", "rotary_factor": 2.0, "original_max_positions": 16},
    "post-norm": {"norm_position": "post", "norm": "layernorm", "bias": True},
    # what the router adds for an even load is a product of sums over all rows of a batch, so it is left out here
    "experts": {"num_experts": 4, "load_balance": 0.0, "router_z_loss": 1e-3},
}
HEADS: dict[str, dict[str, Any]] = {
    "mtp": {"mtp_tokens": 2},
    "z_loss, smoothing": {"z_loss": 1e-2, "label_smoothing": 0.1},
    "chunked": {"chunked": True},
}
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}


def lm(dtype: torch.dtype, of_head: dict[str, Any], **of_network: Any) -> LM:
    """Weights of 0.3, so that an attention weight that should be 0 shows far above rounding."""
    torch.manual_seed(0)
    network = Decoder(vocab_size=257, dim=16, num_layers=2, num_heads=4, num_kv_heads=2, init_std=0.3, **of_network)
    head = NextToken(dim=16, vocab_size=257, weight=network.output_weight, **of_head)
    return LM(network=network, head=head, metrics=()).to(dtype)


def of_the_loader(pack: bool) -> Batch:
    """All training rows as one batch."""
    source = Rows({"train": TEXTS, "validation": ["a"], "test": ["a"]})
    task = Generation(source=source, tokenizer=byte_tokenizer(), seed=1, batch_size=99, seq_len=SEQ_LEN, pack=pack)
    (batch,) = task.training_loader()
    return batch


def one_by_one() -> list[Batch]:
    """The end token and the text predict the text and the end token, windows of SEQ_LEN each from the text's start."""
    made = []
    for text in TEXTS:
        ids = torch.tensor([END, *text.encode(), END])
        for start in range(0, len(ids) - 1, SEQ_LEN):
            window = ids[start : start + SEQ_LEN + 1]
            made.append(Batch(input_ids=window[None, :-1], labels=window[None, 1:]))
    return made


def gradients(module: LM, batches: list[Batch]) -> tuple[float, int, dict[str, torch.Tensor]]:
    """The sum of the losses, the count of labels, and what a training step would put into `grad`."""
    module.zero_grad()
    total, count = 0.0, 0
    for batch in batches:
        objective = module.objective(batch)
        objective.total.backward()
        total, count = total + objective.total.item(), count + int(objective.output.count)
    return total, count, {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def check(module: LM, batch: Batch, tolerance: float) -> None:
    expected, labels, alone = gradients(module, one_by_one())
    found, count, together = gradients(module, [batch])
    assert count == labels == sum(len(text.encode()) + 1 for text in TEXTS)
    assert found == pytest.approx(expected, rel=tolerance)
    assert together.keys() == alone.keys()
    for name, gradient in alone.items():
        largest = gradient.abs().max().item()
        assert largest > 0, name  # a part that learns nothing would agree by luck
        torch.testing.assert_close(together[name], gradient, rtol=0, atol=tolerance * largest, msg=name)


def test_the_packed_batch_is_packed_and_the_padded_one_padded() -> None:
    """Guards the tests below against a loader that puts each document into a row that needs neither."""
    packed, padded = of_the_loader(pack=True), of_the_loader(pack=False)
    assert packed["segments"].amax(1).max() >= 3
    assert packed["segments"].shape[0] < len(one_by_one()) == padded["segments"].shape[0]
    assert padded["segments"].max() == 1
    assert (padded["segments"] == 0).float().mean() > 0.3


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("pack", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_and_gradients_are_those_of_the_documents_one_by_one(name: str, pack: bool, dtype: torch.dtype) -> None:
    check(lm(dtype, {}, **NETWORKS[name]), of_the_loader(pack), TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", HEADS)
def test_what_a_head_adds_is_that_of_the_documents_one_by_one(name: str, dtype: torch.dtype) -> None:
    """Tokens further ahead must not be those of the next document."""
    check(lm(dtype, HEADS[name]), of_the_loader(pack=True), TOLERANCES[dtype])


@pytest.mark.parametrize("name", ["rotary", "alibi, window"])
def test_places_that_run_on_are_noticed(name: str) -> None:
    """Guards the tolerance: without its segments, the same batch is far from the documents one by one."""
    module, batch = lm(torch.float32, {}, **NETWORKS[name]), of_the_loader(pack=True)
    expected, _, _ = gradients(module, one_by_one())
    found, _, _ = gradients(module, [Batch(**{key: batch[key] for key in ("input_ids", "labels")})])  # type: ignore[typeddict-item]
    assert found != pytest.approx(expected, rel=1e-3)
