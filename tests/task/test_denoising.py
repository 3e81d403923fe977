"""Denoising: what each kind of network reads and writes, and what a user is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from manyheads.batch import IGNORE
from manyheads.build import CONF_DIR, build
from manyheads.data.altered import SCORED
from manyheads.data.corruption import noise_spans, with_sentinels
from manyheads.errors import UserError
from manyheads.task.denoising import Denoising
from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer.special import ids_of

END = 256
TEXTS = ["One. Two three. Four five six seven.", "a", "x y. z"]
SPLITS = dict.fromkeys(("train", "validation", "test"), TEXTS)


def make(**settings: Any) -> Denoising:
    chosen = {"kind": "encoder-decoder", "seq_len": 64, "seed": 1} | settings
    return Denoising(source=Rows(SPLITS), tokenizer=byte_tokenizer(), **chosen)


def unpadded(ids: torch.Tensor, segments: torch.Tensor | None) -> list[list[int]]:
    segments = torch.ones_like(ids) if segments is None else segments
    return [row[kept > 0].tolist() for row, kept in zip(ids, segments, strict=True)]


def expected(text: str, example: int) -> tuple[list[int], list[int]]:
    """T5's source and target of a validation text, from the draws that its number makes."""
    tokens = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    spans = noise_spans(len(tokens), 0.15, 3.0, np.random.default_rng((1, SCORED, 0, example)))
    source, target = with_sentinels(tokens, spans, range(257, 357))
    return source.tolist(), target.tolist()


def test_an_encoder_reads_the_source_and_a_decoder_writes_the_target() -> None:
    (batch,) = make().val_dataloader()
    sources = unpadded(batch["source_ids"], batch.get("source_segments"))
    inputs = unpadded(batch["input_ids"], batch.get("segments"))
    labels = [row[row != IGNORE].tolist() for row in batch["labels"]]
    for row, example in enumerate(batch["examples"].tolist()):
        source, target = expected(TEXTS[example], example)
        assert sources[row] == [*source, END]
        assert labels[row] == [*target, END]
        assert inputs[row] == [END, *target]
    assert sorted(batch["examples"].tolist()) == [0, 1, 2]
    assert "num_bytes" not in batch
    assert batch["num_tokens"].item() == sum(map(len, sources)) + sum(map(len, labels))


def test_a_network_from_left_to_right_reads_the_source_and_writes_on() -> None:
    """Only the target has labels; an end token stands on both sides of the source."""
    (batch,) = make(kind="causal").val_dataloader()
    inputs = unpadded(batch["input_ids"], batch.get("segments"))
    for row, example in enumerate(batch["examples"].tolist()):
        source, target = expected(TEXTS[example], example)
        assert inputs[row] == [END, *source, END, *target]
        labels = batch["labels"][row][: len(inputs[row])].tolist()
        assert labels == [*[IGNORE] * (len(source) + 1), *target, END]


def test_bart_writes_the_whole_text() -> None:
    """Masks stand for what is gone; the sentences that are left are in another order in some draw."""
    task = make(objective="bart")
    (mask_id,) = ids_of(task.tokenizer, ["<|mask|>"])
    assert task.tokenizer.vocab_size == 258
    orders = set()
    for epoch in range(8):
        loader = task.train_dataloader()
        loader.order.set_epoch(epoch)  # type: ignore[union-attr]
        (batch,) = loader
        targets = [bytes(row[(row != IGNORE) & (row != END)].tolist()).decode() for row in batch["labels"]]
        assert sorted(targets) == sorted(TEXTS)
        row = targets.index(TEXTS[0])
        source = unpadded(batch["source_ids"], batch.get("source_segments"))[row]
        kept = [token for token in source if token not in (mask_id, END)]
        assert len(kept) == len(TEXTS[0]) - round(0.3 * len(TEXTS[0]))
        assert mask_id in source
        orders.add(bytes(kept).decode()[:1])
    assert len(orders) > 1


def test_bart_keeps_the_order_of_sentences_when_asked_to() -> None:
    task = make(objective="bart", permute_sentences=False, noise_rate=0.0)
    (batch,) = task.val_dataloader()
    for source, example in zip(unpadded(batch["source_ids"], batch.get("source_segments")),
                               batch["examples"].tolist(), strict=True):  # fmt: skip
        assert source == [*TEXTS[example].encode(), END]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_rate": 1.5}, "task.noise_rate=1.5: set a number from 0 to 1."),
        ({"mean_span": 0.5}, "task.mean_span=0.5: set a number of at least 1."),
        ({"sentinels": 0}, "task.sentinels=0: set a number of at least 1."),
        ({"sentinels": 3}, "task.sentinels=3: rows of task.seq_len=64 need 4. Set task.sentinels=4, or a smaller task.seq_len."),
    ],
)  # fmt: skip
def test_what_does_not_go_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        make(**settings)
    assert str(error.value) == message


def test_as_many_sentinels_as_are_needed_are_enough() -> None:
    assert list(make(sentinels=4).train_dataloader())


def test_the_yaml_builds_it() -> None:
    node = OmegaConf.load(CONF_DIR / "task" / "denoising.yaml")
    del node["defaults"]  # Hydra's own
    made = build(node, "task", source=Rows(SPLITS), tokenizer=byte_tokenizer(), seed=0, kind="causal")
    assert isinstance(made, Denoising)


@pytest.mark.parametrize("kind", ["encoder-decoder", "causal"])
@pytest.mark.parametrize("objective", ["t5", "bart"])
def test_no_row_takes_more_positions_than_a_network_is_asked_for(kind: str, objective: str) -> None:
    """A text of which two rows are full. BART writes one token more than a row has, its end; what it reads is shorter than
    the text by as much as its spans are longer than their masks, which chance decides."""
    source = Rows({split: ["abcdefgh" * 6] for split in ("train", "validation", "test")})
    task = Denoising(source=source, tokenizer=byte_tokenizer(), seed=1, kind=kind, seq_len=16, objective=objective)
    batches = [*task.training_loader(), *task.val_dataloader()]
    widths = [batch[name].shape[1] for batch in batches for name in ("input_ids", "source_ids") if name in batch]
    left = {("bart", "causal"): 1}.get((objective, kind), 0)
    assert max(widths) == task.longest - left
    task.check_positions(task.longest)
    with pytest.raises(UserError, match=rf"up to {task.longest} positions, and the network has {task.longest - 1}\."):
        task.check_positions(task.longest - 1)
