"""Guards: a cut that loses text or crosses words, chances that are not the paper's, draws that depend on more than their key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import tokenizers
from tokenizers import models

from manyheads.errors import UserError
from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer import bpe_dropout
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.bpe_dropout import BpeDropout
from manyheads.tokenizer.bytelevel import with_end
from manyheads.tokenizer.special import with_special
from manyheads.tokenizer.unigram import unigram

TEXTS = [
    f"the lower {word} and the newest, unwidest Straße 日本 number {i}\n" for i, word in enumerate(("lowing", "new"))
] * 5
SOURCE = Rows({"train": TEXTS, "validation": ["v"], "test": ["t"]})


def trained() -> Tokenizer:
    return bpe(source=SOURCE, vocab_size=300)


def of(ids: list[int]) -> np.ndarray:
    return np.array(ids, np.int32)


def test_without_chance_it_cuts_as_bpe_does() -> None:
    tokenizer = trained()
    same = BpeDropout(tokenizer, 0.0)
    for text in (*TEXTS, "unseen words, as ÄÖ 語\t\t x", ""):
        ids = tokenizer.encode(text)
        assert same(of(ids), (1,)).tolist() == ids


def test_the_text_stays_and_every_merge_may_be_passed_over() -> None:
    tokenizer = trained()
    for rate in (0.1, 0.5, 1.0):
        drop = BpeDropout(tokenizer, rate)
        for number, text in enumerate((*TEXTS, "unseen ÄÖ 語")):
            cut = drop(of(tokenizer.encode(text)), (1, number)).tolist()
            assert tokenizer.decode(cut) == text
            assert rate < 1 or len(cut) == len(text.encode())


def test_special_tokens_stay_where_they_are() -> None:
    tokenizer = with_special(trained(), ["<|2en|>"])
    tag = tokenizer.vocab_size - 1
    cut = BpeDropout(tokenizer, 1.0)(of([tag, *tokenizer.encode("the new"), tokenizer.end_id]), (1,)).tolist()
    assert (cut[0], cut[-1]) == (tag, tokenizer.end_id)
    assert cut[1:-1] == list(tokenizer.encode("the new")) or len(cut) == 2 + len(b"the new")


def test_chances_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of "abc" with the merges a b and ab c: ab is not made with p, and then c is not joined with p."""
    monkeypatch.setattr(bpe_dropout, "WAYS", 20_000)
    vocab = {token: number for number, token in enumerate(("a", "b", "c", "ab", "abc"))}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b"), ("ab", "c")]))
    drop = BpeDropout(with_end(backend, "bpe"), 0.3)
    drop(of([4]), (1,))
    shares = Counter(map(tuple, drop._ways[4,]))
    assert {way: pytest.approx(count / 20_000, abs=0.015) for way, count in shares.items()} == {
        (4,): 0.7 * 0.7,
        (3, 2): 0.7 * 0.3,
        (0, 1, 2): 0.3,
    }


def test_draws_go_by_their_key_alone() -> None:
    tokenizer = trained()
    one, other = BpeDropout(tokenizer, 0.5), BpeDropout(tokenizer, 0.5)
    rows = [of(tokenizer.encode(text)) for text in TEXTS]
    first = [one(row, (1, number)).tolist() for number, row in enumerate(rows)]
    assert first == [other(row, (1, number)).tolist() for number, row in reversed(list(enumerate(rows)))][::-1]
    assert first != [one(row, (2, number)).tolist() for number, row in enumerate(rows)]
    assert len({tuple(one(rows[0], (1, key))) for key in range(20)}) > 10


@pytest.mark.parametrize("make", [byte_tokenizer, lambda: unigram(source=SOURCE, vocab_size=32)])
def test_a_tokenizer_without_merges_is_refused(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    with pytest.raises(UserError) as caught:
        BpeDropout(tokenizer, 0.1)
    assert str(caught.value) == (
        f"task.bpe_dropout=0.1: tokenizer={tokenizer.name} does not merge pairs. Set tokenizer=bpe, or task.bpe_dropout=0."
    )
