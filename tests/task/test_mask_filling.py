"""Guards masks that are not where they were written, tokens from another mask, and probabilities that are not the network's."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.task.mask_filling import MaskedText, masked_texts
from manyheads.task.masked import Masked
from manyheads.testing import Rows, ScriptedHead, byte_tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.special import MASK, ids_of, with_special

END, HIDDEN = 256, 257
BYTES = with_special(byte_tokenizer(), [MASK])


class Successor(nn.Module):
    """A network that finds one more than the token before half likely, and all others alike."""

    kind: ClassVar[str] = "bidirectional"

    def __init__(self) -> None:
        super().__init__()
        self.read: list[list[int]] = []

    def forward(self, batch: Batch) -> Tensor:
        ids = batch["input_ids"]
        self.read += ids.tolist()
        found = torch.full((*ids.shape, BYTES.vocab_size), 0.5 / (BYTES.vocab_size - 1))
        found[:, 1:].scatter_(2, (ids[:, :-1, None] + 1).clamp(max=HIDDEN), 0.5)
        return found.log()


def answers(*texts: str, **settings: Any) -> tuple[list[Any], Successor]:
    splits = {"train": ["abc"], "validation": ["abc"], "test": list(texts)}
    task = Masked(source=Rows(splits), tokenizer=byte_tokenizer(), seed=1, **{"seq_len": 16} | settings)
    network = Successor()
    return list(task.answers(network, ScriptedHead())), network


def test_each_mask_has_the_likeliest_tokens_and_their_probabilities() -> None:
    (line, other), _ = answers("ab<|mask|>d <|mask|>", "x<|mask|>", top_k=2)
    assert (line["id"], line["input"], line["output"]) == (0, "ab<|mask|>d <|mask|>", "abcd !")
    assert [mask[0]["token"] for mask in line["masks"]] == ["c", "!"]
    half, rest = 0.5, 0.5 / 257
    for mask in line["masks"]:
        assert [found["probability"] for found in mask] == pytest.approx([half, rest], rel=1e-5)
    assert (other["id"], other["output"]) == (1, "xy")


def test_special_tokens_are_not_proposed() -> None:
    """Behind the end token of a text's beginning the mask token is the likeliest: what is told has no half."""
    (line,), _ = answers("<|mask|>a", top_k=300)
    assert [found["probability"] for found in line["masks"][0]] == pytest.approx([0.5 / 257] * 256, rel=1e-5)


def test_a_long_text_is_read_in_rows_as_in_training() -> None:
    """Rows of 4 tokens, the end token in the first; the one without a mask is not read."""
    (line,), network = answers("abcdefg<|mask|>ijk<|mask|>", seq_len=4, batch_size=3)
    assert network.read == [[HIDDEN, *b"ijk"], [HIDDEN, END, END, END]]
    assert len(line["masks"]) == 2


def test_masks_by_hand() -> None:
    assert masked_texts(["a <|mask|>c", "<|mask|>"], BYTES, MASK, HIDDEN) == [
        MaskedText([END, *b"a ", HIDDEN, *b"c"], [3]), MaskedText([END, HIDDEN], [1]),
    ]  # fmt: skip


def test_a_word_is_masked_with_its_space_where_tokens_have_theirs() -> None:
    rows = ["the cat sat on the mat and the cat ran"] * 20
    tokenizer = with_special(
        bpe(source=Rows(dict.fromkeys(("train", "validation", "test"), rows)), vocab_size=270), [MASK]
    )
    (hidden,) = ids_of(tokenizer, [MASK])
    [found] = masked_texts(["the <|mask|> sat"], tokenizer, MASK, hidden)
    assert found.ids == [tokenizer.end_id, *tokenizer.encode("the"), hidden, *tokenizer.encode(" sat")]


def test_no_other_special_token_is_written_by_a_text() -> None:
    [found] = masked_texts(["<|endoftext|><|mask|>"], BYTES, MASK, HIDDEN)
    assert found.ids == [END, *b"<|endoftext|>", HIDDEN]


def test_a_text_without_a_mask() -> None:
    with pytest.raises(UserError) as caught:
        answers("a<|mask|>", "abc")
    assert str(caught.value) == "row 1 has no mask to be filled. Write <|mask|> into text where a token is to be told."
