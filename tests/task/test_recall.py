"""Guards a label that is no answer, an answer that is no label, and a text that cannot be answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from manyheads.batch import IGNORE
from manyheads.data.recall import FILLER, MARK, recall
from manyheads.errors import UserError
from manyheads.task.recall import Recall
from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer.bpe import bpe
from manyheads.tokenizer.character import character

SMALL: dict[str, Any] = {"pairs": 3, "length": 20, "rows": 40, "scored_rows": 10}


def made(**settings: Any) -> Recall:
    source = recall(**SMALL)
    return Recall(source=source, tokenizer=byte_tokenizer(), seed=1, **settings)


@pytest.mark.parametrize("settings", [{}, {"pack": True, "seq_len": 70, "batch_size": 3}, {"seq_len": 21}])
def test_answers_alone_are_learned(settings: dict[str, Any]) -> None:
    task = made(**settings)
    for loader, split in ((task.train_dataloader(), "train"), (task.val_dataloader(), "validation")):
        expected = []
        for part in task.source.texts(split):
            for text in part:
                questions = text.split(MARK)[1].replace(FILLER, "")
                expected += zip(questions[::2], questions[1::2], strict=True)
        found = []
        for batch in loader:
            learned = batch["labels"] != IGNORE
            pairs = zip(batch["input_ids"][learned].tolist(), batch["labels"][learned].tolist(), strict=True)
            found += [(chr(token), chr(label)) for token, label in pairs]
        assert sorted(found) == sorted(expected)


@pytest.mark.slow
def test_a_network_learns_it(cli: Callable[..., Any]) -> None:
    """Two pairs of two values: from half of the answers to nearly all. A rule that looks at single tokens has half."""
    done = cli(
        "train", "task=recall", "model=tiny", "model.dim=32", "model.num_layers=2", "model.num_heads=2",
        "data.pairs=2", "data.length=10", "++data.keys=4", "++data.values=2", "++data.rows=2000", "++data.scored_rows=200",
        "task.seq_len=11", "trainer.max_steps=300", "trainer.val_every_n_steps=300", "logger=csv", "optim.lr=0.02",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.results["baselines"]["unigram"]["accuracy"] == pytest.approx(0.5, abs=0.1)
    assert done.results["test"]["accuracy"] > 0.9


def test_tokens_of_several_characters_are_refused() -> None:
    source = recall(**SMALL)
    for tokenizer in (bpe(source=source, vocab_size=300), byte_tokenizer()):
        other = recall(**SMALL | {"keys": 30})
        task = Recall(source=other, tokenizer=tokenizer, seed=1)
        with pytest.raises(UserError) as caught:
            task.prepare()
        assert str(caught.value) == "tokenizer: task=recall needs a token for each character. Set tokenizer=character."
    Recall(source=source, tokenizer=character(source=source), seed=1).prepare()


def test_other_data_and_texts_that_do_not_fit_are_refused() -> None:
    source = Rows({"train": ["some text", "more"], "validation": ["a"], "test": ["b"]})
    with pytest.raises(UserError) as caught:
        Recall(source=source, tokenizer=byte_tokenizer(), seed=1).prepare()
    assert str(caught.value) == "data (rows): task=recall reads rows of questions. Set data=recall."
    with pytest.raises(UserError) as caught:
        made(seq_len=20).prepare()
    assert str(caught.value) == (
        "task.seq_len=20: a text has 21 tokens, and in parts it could not be answered. Set task.seq_len=21, or a smaller "
        "data.length."
    )
