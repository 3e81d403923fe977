"""Guards what is hidden, what it becomes, and what is learned of it."""

import numpy as np
import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.data.masking import AskedAlone, Masking, Vocabulary
from manyheads.testing import byte_tokenizer
from manyheads.tokenizer.word_starts import WordStarts

END, MASK = 256, 257
SPECIAL = np.arange(258) >= END
VOCABULARY = Vocabulary(MASK, np.arange(ord("a"), ord("z") + 1), SPECIAL)


def masking(rate: float = 0.15, masked: float = 0.8, random: float = 0.1, words: bool = False) -> Masking:
    starts = WordStarts(byte_tokenizer()) if words else None
    return Masking(VOCABULARY, rate=rate, masked=masked, random=random, words=starts)


def row(text: str) -> Batch:
    return Batch(input_ids=torch.tensor([[END, *text.encode()]]), labels=torch.full((1, len(text) + 1), 7))


def test_each_position_is_what_its_three_numbers_say() -> None:
    """By hand, from the numbers themselves: numpy's generator is the one that the key makes, three for each position."""
    text, key = "the quick brown fox jumps over", (5, 1, 2)
    made = masking(rate=0.5, masked=0.4, random=0.3)(row(text), [key])
    numbers = np.random.default_rng(key).random((len(text) + 1, 3)).tolist()
    inputs, labels = [END], [IGNORE]
    for byte, (chance, fate, which) in zip(text.encode(), numbers[1:], strict=True):
        hidden = chance < 0.5
        shown = MASK if fate < 0.4 else ord("a") + int(26 * which) if fate < 0.7 else byte
        inputs.append(shown if hidden else byte)
        labels.append(byte if hidden else IGNORE)
    assert made["input_ids"].tolist() == [inputs]
    assert made["labels"].tolist() == [labels]
    assert {MASK} < set(inputs) - set(text.encode()) | {MASK}
    assert sum(label != IGNORE and shown == label for shown, label in zip(inputs, labels, strict=True)) >= 2
    assert made["num_tokens"].item() == len(text) + 1


def test_shares_of_many_rows_are_those_that_were_asked_for() -> None:
    """100,000 tokens: each share within four standard deviations of the binomial."""
    batch = Batch(input_ids=torch.full((200, 500), ord("A")), labels=torch.zeros(200, 500, dtype=torch.long))
    made = masking()(batch, [(1, epoch) for epoch in range(200)])
    hidden = made["labels"] != IGNORE
    assert (made["input_ids"][~hidden] == ord("A")).all()
    shown = made["input_ids"][hidden]
    shares = {"hidden": (hidden.sum(), 100_000, 0.15)}
    total = int(hidden.sum())
    shares["masked"] = ((shown == MASK).sum(), total, 0.8)
    shares["kept"] = ((shown == ord("A")).sum(), total, 0.1)
    shares["random"] = (((shown >= ord("a")) & (shown <= ord("z"))).sum(), total, 0.1)
    for name, (count, of, share) in shares.items():
        assert abs(int(count) - of * share) < 4 * (of * share * (1 - share)) ** 0.5, name
    letters = torch.bincount(shown[(shown != MASK) & (shown != ord("A"))] - ord("a"), minlength=26)
    assert letters.min() > 0.5 * letters.sum() / 26


def test_special_tokens_and_padding_are_never_hidden() -> None:
    ids = torch.tensor([[END, 65, MASK, END, END], [END, 66, 67, 68, 69]])
    segments = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    made = masking(rate=1.0, masked=1.0, random=0.0)(Batch(input_ids=ids, segments=segments), [(1,), (2,)])
    assert made["labels"].tolist() == [[IGNORE, 65, IGNORE, IGNORE, IGNORE], [IGNORE, 66, 67, 68, 69]]
    assert made["input_ids"].tolist() == [[END, MASK, MASK, END, END], [END, *[MASK] * 4]]
    assert made["num_tokens"].item() == 8


def test_a_row_is_masked_the_same_in_every_batch() -> None:
    """Wider for another row's sake, alone, in another place: the draws are the row's."""
    short, long = row("the quick brown"), row("the quick brown fox jumps")
    alone = masking(rate=0.4)(short, [(3, 0, 4)])
    width = long["input_ids"].shape[1]
    both = torch.full((2, width), END)
    both[0], both[1, :16] = long["input_ids"][0], short["input_ids"][0]
    segments = torch.ones(2, width, dtype=torch.long)
    segments[1, 16:] = 0
    made = masking(rate=0.4)(Batch(input_ids=both, segments=segments), [(3, 0, 9), (3, 0, 4)])
    assert torch.equal(made["input_ids"][1, :16], alone["input_ids"][0])
    assert torch.equal(made["labels"][1, :16], alone["labels"][0])
    other = masking(rate=0.4)(short, [(3, 1, 4)])
    assert not torch.equal(other["labels"], alone["labels"])


def test_whole_words_are_hidden_whole_and_as_often() -> None:
    text = "one two, three-four five six seven " * 400
    made = masking(rate=0.3, words=True)(row(text), [(1, 2)])
    hidden = (made["labels"][0] != IGNORE).numpy()
    begins = WordStarts(byte_tokenizer())(row(text)["input_ids"].numpy())[0]
    word = np.cumsum(begins)[1:]  # without the end token
    share = np.bincount(word, weights=hidden[1:])[2:] / np.bincount(word)[2:]
    assert set(share.tolist()) == {0.0, 1.0}
    words = len(share)
    assert abs(share.sum() - 0.3 * words) < 4 * (words * 0.3 * 0.7) ** 0.5
    # each token of a hidden word becomes something by its own draw
    kinds = {bool(kept) for kept in (made["input_ids"][0].numpy() == MASK)[hidden]}
    assert kinds == {True, False}


def test_rows_that_are_asked_for_token_by_token() -> None:
    ask = AskedAlone(masking(rate=1.0), SPECIAL, [4])
    ids = torch.tensor([[END, 65, 66], [END, 67, 68]])
    made = ask(Batch(input_ids=ids), [(1, 2, 4), (1, 2, 5)])
    assert made["pseudo_labels"].tolist() == [[IGNORE, 65, 66], [IGNORE] * 3]
    assert made["labels"].tolist() == [[IGNORE, 65, 66], [IGNORE, 67, 68]]


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_none_and_all(rate: float) -> None:
    made = masking(rate=rate)(row("abcdef"), [(1,)])
    assert (made["labels"][0, 1:] != IGNORE).all() == bool(rate)
