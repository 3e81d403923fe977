"""Masked: its masks, its scores and what a user is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.build import CONF_DIR, build
from manyheads.data.files import files
from manyheads.errors import UserError
from manyheads.head.base import Head, HeadOutput, Scores
from manyheads.head.masked_token import MaskedToken
from manyheads.model.encoder import Encoder
from manyheads.task.masked import Masked
from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer.special import with_special

TEXTS = ["abcdef", "xyz" * 9, "", "hij", "no"]
SPLITS = dict.fromkeys(("train", "validation", "test"), TEXTS)


def make(splits: Any = SPLITS, **settings: Any) -> Masked:
    return Masked(source=Rows(splits), tokenizer=byte_tokenizer(), seed=1, **{"seq_len": 16} | settings)


class Successor(nn.Module):
    """A network that reads in both directions and finds one more than the token before half likely, all others alike."""

    kind: ClassVar[str] = "bidirectional"
    sizes: list[int]

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size, self.sizes = vocab_size, []

    def forward(self, batch: Batch) -> Tensor:
        ids = batch["input_ids"]
        self.sizes.append(len(ids))
        found = torch.full((*ids.shape, self.vocab_size), 0.5 / (self.vocab_size - 1))
        following = (ids[:, :-1] + 1).clamp(max=self.vocab_size - 1)
        found[:, 1:].scatter_(2, following[..., None], 0.5)
        return found.log()


class AsTheyAre(Head):
    """Takes hidden states for log probabilities."""

    kinds = frozenset({"bidirectional"})

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        raise AssertionError

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        losses = nn.functional.nll_loss(hidden.transpose(1, 2), batch["labels"], ignore_index=IGNORE, reduction="none")
        return Scores(losses, hidden.argmax(-1) == batch["labels"])


@pytest.mark.parametrize("eval_batch_size", [1, 2, 50])
def test_pseudo_perplexity_in_closed_form(eval_batch_size: int) -> None:
    """Each token with nothing else masked: a successor costs ln 2, any other ln(2 (V - 1)). Of the first two texts alone, and
    of "xyzxyz..." the 15 tokens that stand in one row with the end before it: 5 begin a text or come after z.
    """
    task = make(eval_batch_size=eval_batch_size, pseudo_perplexity_texts=2, mask_rate=0.9)
    network, outputs = Successor(258), {}
    for batch in task.val_dataloader():
        read = task.read(network, AsTheyAre(), batch, torch.empty(0))
        outputs |= dict(zip(batch["examples"].tolist(), read, strict=True))
    assert max(network.sizes) <= eval_batch_size
    known, others = 5 + 10, 1 + 5
    expected = math.exp((known * math.log(2) + others * math.log(2 * 257)) / (known + others))
    assert task.scores("validation", outputs)["pseudo_perplexity"] == pytest.approx(expected, rel=1e-5)
    assert sorted(outputs) == [0, 1, 2, 3, 4]
    assert [count for _, count in (outputs[row] for row in range(5))] == [6, 15, 0, 0, 0]


def test_it_is_read_at_the_end_unless_it_is_monitored() -> None:
    task = make()
    task.watch("val/loss")
    assert (task.outputs, task.while_training) == (task, False)
    task.watch("val/pseudo_perplexity")
    assert task.while_training
    off = make(pseudo_perplexity_texts=0)
    assert off.outputs is None
    assert all("pseudo_labels" not in batch for batch in off.val_dataloader())
    with pytest.raises(UserError, match=r"monitor=val/pseudo_perplexity needs task.pseudo_perplexity_texts above 0"):
        off.watch("val/pseudo_perplexity")


def masks(task: Masked, epoch: int) -> list[list[int]]:
    """The places that are hidden in each row of an epoch."""
    loader = task.train_dataloader()
    loader.order.set_epoch(epoch)  # type: ignore[union-attr]
    found = [row.nonzero().flatten().tolist() for batch in loader for row in batch["labels"] != IGNORE]
    task.train_dataloader()
    return found


def test_static_masks_take_turns_and_dynamic_ones_do_not_come_again() -> None:
    settings = {"shuffle": False, "pack": False, "mask_rate": 0.5, "static_masks": 2}
    static, dynamic = make(masking="static", **settings), make(masking="dynamic", **settings)
    found = [masks(static, epoch) for epoch in range(4)]
    assert found[0] == found[2] != found[1] == found[3]
    found = [masks(dynamic, epoch) for epoch in range(4)]
    assert all(found[one] != found[other] for one in range(4) for other in range(one))


@pytest.mark.parametrize("pack", [True, False])
def test_texts_are_read_whole_and_ends_never_learned(pack: bool) -> None:
    """All tokens of all texts come back when labels are put where they were hidden; the end is neither label nor chance."""
    task = make(pack=pack, mask_rate=0.8)
    tokens: list[int] = []
    read = 0
    for batch in task.train_dataloader():
        labels, ids = batch["labels"], batch["input_ids"]
        assert not (labels == 256).any()
        assert not (labels == task.mask_id).any()
        whole = torch.where(labels == IGNORE, ids, labels)
        tokens += whole[whole != 256].tolist()
        read += int(batch["num_tokens"])
    assert sorted(tokens) == sorted(byte for text in TEXTS for byte in text.encode())
    assert read == task.tokens_per_epoch == sum(len(text) + 1 for text in TEXTS if text)


def test_the_mask_token_is_the_tokenizers_own_where_it_has_one() -> None:
    tokenizer = with_special(byte_tokenizer(), ["[MASK]", "<other>"])
    task = Masked(source=Rows(SPLITS), tokenizer=tokenizer, seed=1, mask_token="[MASK]")
    assert task.tokenizer is tokenizer
    assert task.mask_id == 257
    assert make().tokenizer.vocab_size == 258


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_rate": 1.5}, "task.mask_rate=1.5: set a number from 0 to 1."),
        ({"mask_share": -1}, "task.mask_share=-1: set a number from 0 to 1."),
        ({"mask_share": 0.75, "random_share": 0.5},
         "task.random_share=0.5: set a number from 0 to 0.25. The upper end is 1 - task.mask_share."),
        ({"static_masks": 0}, "task.static_masks=0: set a number of at least 1."),
        ({"pseudo_perplexity_texts": -1}, "task.pseudo_perplexity_texts=-1: set a number of at least 0."),
        ({"seq_len": 0}, "task.seq_len=0: set a number of at least 1."),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        make(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"masking": "static"}, r"task.masking=static: with data.streaming=true.*Set task.masking=dynamic."),
        ({"next_sentence": True}, r"task.next_sentence=true: .* with data.streaming=true .*Set data.streaming=false."),
    ],
)
def test_what_needs_all_of_train_is_refused_for_a_stream(settings: dict[str, Any], text: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("some\ntext\n")
    source = files(format="text", path=str(tmp_path / "t.txt"), streaming=True, join_rows=False)
    with pytest.raises(UserError, match=text):
        Masked(source=source, tokenizer=byte_tokenizer(), seed=1, **settings)


def test_the_yaml_builds_it() -> None:
    node = OmegaConf.load(CONF_DIR / "task" / "masked.yaml")
    del node["defaults"]  # Hydra's own
    made = build(node, "task", source=Rows(SPLITS), tokenizer=byte_tokenizer(), seed=0)
    assert isinstance(made, Masked)
    assert made.alter.rate == 0.15  # type: ignore[union-attr]


PAIRED = {split: ["One. Two. Three.", "Four! Five", "Six"] for split in SPLITS}


def test_pairs_are_masked_and_scored() -> None:
    """A head that tells all pairs but those of class 1: the accuracy is the share of class 0 of the pairs there are."""
    task = make(PAIRED, next_sentence=True, mask_rate=0.5, seq_len=32)
    task.prepare()
    network = Encoder(vocab_size=258, dim=8, num_heads=2, num_layers=1, token_types=2)
    assert task.found == {"head": {"pair_weight": 4.83}}  # half of the bytes, (16 + 10 + 3) / 3
    head = MaskedToken(dim=8, vocab_size=258, pair_weight=task.found["head"]["pair_weight"])
    assert head.pair is not None
    with torch.no_grad():
        head.pair[2].bias.copy_(torch.tensor([100.0, 0.0]))
    outputs, classes = {}, []
    for batch in task.val_dataloader():
        assert (batch["labels"] != IGNORE).any()
        assert not (batch["labels"] == 256).any()
        read = task.read(network, head, batch, network(batch))
        outputs |= dict(zip(batch["examples"].tolist(), read, strict=True))
        classes += batch["classes"].tolist()
    assert sorted(outputs) == [0, 1, 2]
    pairs = [found for found in classes if found != IGNORE]
    assert task.scores("validation", outputs) == {"next_sentence_accuracy": pairs.count(0) / len(pairs)}
    assert (task.outputs, task.while_training) == (task, True)
    task.watch("val/next_sentence_accuracy")
    with pytest.raises(UserError, match=r"monitor=val/pseudo_perplexity needs .*task.next_sentence=false"):
        task.watch("val/pseudo_perplexity")
    with pytest.raises(UserError, match=r"monitor=val/next_sentence_accuracy needs task.next_sentence=true"):
        make().watch("val/next_sentence_accuracy")


@pytest.mark.parametrize("texts", [["One", "Two", "Three."], ["One. Two. Three."], ["a" * 40 + ". One.", "Two"]])
def test_texts_without_a_pair_are_told(texts: list[str]) -> None:
    """Of one sentence each; one text alone; a second sentence that is no word behind the end of a row."""
    splits = dict.fromkeys(("train", "validation", "test"), texts)
    with pytest.raises(UserError, match=r"task.next_sentence=true: data \(rows\): train has no two texts of which one"):
        make(splits, next_sentence=True, seq_len=16).prepare()


def test_the_bigram_sees_what_the_network_reads() -> None:
    """Guards a hidden token that is looked up behind a token that the network does not see. Train has each pair of a, b, c
    once or twice; of test every token is hidden but the end, so that behind a mask only how often a token is counts."""
    splits = {"train": ["abc", "ab"], "validation": ["abc"], "test": ["ab"]}
    found = make(splits, mask_rate=1.0, mask_share=1.0, random_share=0.0).baselines("test")
    counts, size = {"a": 2, "b": 2}, 258
    share = {text: (count + 1) / (5 + size) for text, count in counts.items()}
    # "a" stands behind the end token, as in both texts of train, and "b" behind a mask
    loss = -math.log((2 + 20 * share["a"]) / (2 + 20)) - math.log(share["b"])
    assert found["bigram"] == {"loss": pytest.approx(loss / 2), "accuracy": 0.5}
    assert list(found) == ["unigram", "bigram"]
