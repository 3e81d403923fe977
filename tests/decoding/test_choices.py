"""Guards choices against texts that are none of them, and against a search that does not find the likeliest one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manyheads.batch import Batch
from manyheads.decoding.beam import beam_search
from manyheads.decoding.choices import Choices
from manyheads.decoding.generate import generate
from manyheads.decoding.sampling import sampling
from manyheads.errors import UserError
from manyheads.testing import Rows, byte_tokenizer, tiny_network
from manyheads.tokenizer.unigram import unigram
from manyheads.tokenizer.wordpiece import wordpiece

TOKENIZER = byte_tokenizer()
END = TOKENIZER.end_id


def allowed(choices: list[str], new: str) -> list[Any]:
    mask = Choices(TOKENIZER, choices).allowed(list(new.encode()))
    return ["end" if token == END else chr(token) for token in mask.nonzero()[:, 0].tolist()]


def test_what_may_come_next_by_hand() -> None:
    """A choice may begin another one, may come twice, and may hold a character of two bytes."""
    choices = ["ab", "abc", "b", "ab", "é"]
    assert allowed(choices, "") == ["a", "b", "Ã"]
    assert allowed(choices, "a") == ["b"]
    assert allowed(choices, "ab") == ["c", "end"]
    assert allowed(choices, "b") == allowed(choices, "é") == ["end"]


CHOICES = ["yes", "no", "not at all", "y", "é"]
PROMPTS = ["is it? ", "", "was it?"]


def log_probability(network: Any, head: Any, prompt: str, choice: str) -> float:
    """Of a choice and its end after a prompt, all read at once."""
    read = [END, *TOKENIZER.encode(prompt), *TOKENIZER.encode(choice), END]
    with torch.no_grad():
        table = head.logits(network(Batch(input_ids=torch.tensor([read[:-1]])))).double().log_softmax(-1)[0]
    return sum(float(table[i - 1, read[i]]) for i in range(1 + len(TOKENIZER.encode(prompt)), len(read)))


@pytest.mark.parametrize("seed", range(3))
def test_the_search_finds_the_likeliest_choice(seed: int) -> None:
    """Five beams let none of five choices fall out."""
    network, head = tiny_network(TOKENIZER.vocab_size, seed=seed)
    prompts = [TOKENIZER.encode(prompt) for prompt in PROMPTS]
    found = beam_search(
        network, head, prompts, end_id=END, max_new_tokens=11, num_beams=5, num_return=5, length_penalty=0.0,
        early_stopping="never", allowed=Choices(TOKENIZER, CHOICES),
    )  # fmt: skip
    for prompt, row in zip(PROMPTS, found, strict=True):
        scores = {choice: log_probability(network, head, prompt, choice) for choice in CHOICES}
        order = sorted(CHOICES, key=lambda choice: -scores[choice])
        assert [TOKENIZER.decode(each.tokens) for each in row] == order
        assert [each.score for each in row] == pytest.approx([scores[choice] for choice in order], rel=1e-5)


@pytest.mark.parametrize("drawn", [False, True])
def test_what_is_chosen_or_drawn_is_one_of_the_choices(drawn: bool) -> None:
    """The mask comes before top-k: of the network's own likeliest tokens none is the beginning of a choice."""
    network, head = tiny_network(TOKENIZER.vocab_size)
    strategy = sampling(temperature=2.0, top_k=3) if drawn else sampling(temperature=0)
    found = [
        TOKENIZER.decode(tokens)
        for seed in range(8)
        for tokens in generate(
            network, head, [[1], [2], [3]], end_id=END, max_new_tokens=11, sampling=strategy, seed=seed,
            allowed=Choices(TOKENIZER, CHOICES),
        )
    ]  # fmt: skip
    assert set(found) <= set(CHOICES)
    assert not drawn or len(set(found)) > 2


WORDS = [a + b + c for a in ("low", "new", "wide", "the") for b in ("er", "est", "") for c in ("ing", "s", "")]
SOURCE = Rows({"train": [f"{word} a {word}, cat dog" for word in WORDS], "validation": [""], "test": [""]})


def test_a_choice_that_the_tokenizer_cannot_write_is_named() -> None:
    with pytest.raises(UserError) as caught:
        Choices(unigram(source=SOURCE, vocab_size=35), ["cat", "fox"])
    assert str(caught.value).startswith("choices=['cat', 'fox']: the tokenizer cannot write 'fox', only '")
    with pytest.raises(UserError, match="cannot write 'cat  dog', only 'cat dog'"):
        Choices(wordpiece(source=SOURCE, vocab_size=40), ["cat", "cat  dog"])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([], "choices=[]: set a list of at least one text."),
        ("yes", "choices=yes: set a list of at least one text."),
        (5, "choices=5: set a list of at least one text."),
        (["a", 1], "choices=['a', 1]: 1 is no text of at least one character; put quotes around each."),
        (["a", ""], "choices=['a', '']: '' is no text of at least one character; put quotes around each."),
        (["\udc80"], "choices=['\\udc80']: '\\udc80' is no text of at least one character; put quotes around each."),
    ],
)
def test_what_is_no_list_of_texts_is_named(choices: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Choices(TOKENIZER, choices)
    assert str(caught.value) == message
