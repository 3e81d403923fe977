"""WordWindows: its batches, and a loss curve held to word2vec written out in numpy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError
from manyheads.head.negative_sampling import NegativeSampling
from manyheads.model.word2vec import Word2Vec
from manyheads.task.base import Scored
from manyheads.task.word_windows import WordWindows
from manyheads.testing import Rows
from manyheads.tokenizer.word import word

TEXTS = [
    "the cat sees a dog and the dog sees a cow",
    "the dog sees a cow and the cow sees a hen",
    "the hen sees a cat and the cat sees a dog",
    "",
    "a rare word",
]
SPLITS = dict.fromkeys(("train", "validation", "test"), TEXTS)


def make(splits: Any = SPLITS, kind: str = "skip-gram", **settings: Any) -> WordWindows:
    source = Rows(splits)
    given = {"seq_len": 16, "batch_size": 2, "subsample": 0.0, "window": 2} | settings
    return WordWindows(source=source, tokenizer=word(source=source, min_count=2), seed=1, kind=kind, **given)


def numbers(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids = batch["input_ids"].numpy()
    return ids, batch["segments"].numpy() if "segments" in batch else np.ones_like(ids), batch["candidates"].numpy()


class InNumpy:
    """word2vec with plain gradient descent on the mean loss of each batch (Mikolov et al. 2013b, equation 4)."""

    def __init__(self, vectors: np.ndarray, rate: float) -> None:
        self.vectors, self.contexts, self.rate = vectors.copy(), np.zeros_like(vectors), rate

    def step(self, batch: Batch) -> float:
        ids, there, candidates = numbers(batch)
        weights = there / there.sum(1, keepdims=True)
        states = (self.vectors[ids] * weights[..., None]).sum(1)
        wanted = np.zeros(candidates.shape)
        wanted[:, 0] = 1.0
        known = candidates != IGNORE
        candidates = np.where(known, candidates, 0)
        scores = np.einsum("nkd,nd->nk", self.contexts[candidates], states)
        chances = 1 / (1 + np.exp(-scores))
        loss = -(np.log(np.where(wanted == 1, chances, 1 - chances)) * known).sum() / len(ids)
        slopes = (chances - wanted) * known / len(ids)
        of_states = np.einsum("nk,nkd->nd", slopes, self.contexts[candidates])
        np.add.at(self.contexts, candidates, -self.rate * slopes[..., None] * states[:, None])
        np.add.at(self.vectors, ids, -self.rate * weights[..., None] * of_states[:, None])
        return loss


@pytest.mark.parametrize(("kind", "objective"), [("skip-gram", "skip_gram"), ("cbow", "cbow")])
def test_the_loss_curve_is_that_of_another_word2vec_with_the_same_draws(kind: str, objective: str) -> None:
    torch.manual_seed(0)
    task = make(kind=kind)
    size = task.tokenizer.vocab_size
    network = Word2Vec(vocab_size=size, dim=6, objective=objective).double()  # type: ignore[arg-type]
    head = NegativeSampling(dim=6, vocab_size=size).double()
    other = InNumpy(network.embedding.weight.detach().numpy(), rate=0.8)
    optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=0.8)
    loader, found, wanted = task.train_dataloader(), [], []
    for epoch in range(15):
        loader.order.set_epoch(epoch)  # type: ignore[union-attr]
        for batch in loader:
            optimizer.zero_grad()
            output = head(network(batch), batch)
            (output.loss_sum / output.count).backward()
            optimizer.step()
            found.append(output.loss_sum.item() / int(output.count))
            wanted.append(other.step(batch))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert np.mean(found[-4:]) < 0.9 * np.mean(found[:4])


def test_words_are_counted_without_ends_and_unknown_ones() -> None:
    task = make()
    counts = {task.tokenizer.backend.id_to_token(token): n for token, n in enumerate(task.counts.tolist()) if n}
    assert counts == {"the": 6, "a": 7, "sees": 6, "and": 3, "cat": 3, "dog": 4, "cow": 3, "hen": 2}
    seen = {int(token) for batch in task.train_dataloader() for token in batch["candidates"].flatten()}
    assert task.tokenizer.end_id not in seen
    assert task.tokenizer.unknown_id not in seen


def test_tokens_that_are_read_are_all_of_train() -> None:
    task = make()
    read = sum(int(batch["num_tokens"]) for batch in task.train_dataloader())
    assert read == task.tokens_per_epoch == 4 * 1 + 3 * 11 + 3


def told(batches: Any) -> list[tuple[Any, ...]]:
    """Each word to tell with what it is told from."""
    rows = (zip(*(part.tolist() for part in numbers(batch)), strict=True) for batch in batches)
    return [tuple(tuple(part) for part in row) for found in rows for row in found]


@pytest.mark.parametrize("kind", ["skip-gram", "cbow"])
def test_no_score_depends_on_the_batch(kind: str) -> None:
    """In batches of any size, each time, and on two ranks together."""
    wanted = sorted(told(make(kind=kind).val_dataloader()))
    task = make(kind=kind, eval_batch_size=5)
    assert sorted(told(task.val_dataloader())) == wanted
    assert sorted(told(task.val_dataloader())) == wanted
    ranks = []
    for rank in range(2):
        one = make(kind=kind, eval_batch_size=1)
        one._rank = lambda rank=rank: (rank, 2)  # type: ignore[method-assign]
        ranks += told(one.val_dataloader())
    assert sorted(ranks) == wanted


def test_draws_come_anew_in_each_epoch_and_the_same_after_a_resume() -> None:
    task = make()
    loader = task.train_dataloader()
    first = told(loader)
    loader.order.set_epoch(1)  # type: ignore[union-attr]
    second = told(loader)
    assert sorted(first) != sorted(second)
    loader = make().train_dataloader()
    begun = iter(loader)
    next(begun)
    place = loader.state_dict()
    resumed = make()
    resumed.load_state_dict(place)
    assert told(resumed.train_dataloader()) == told(begun)


def test_a_line_for_each_text_and_words_of_each_example() -> None:
    task = make(eval_batch_size=3)
    found: dict[int, int] = {}
    for batch in task.test_dataloader():
        assert batch["examples"].shape == batch["candidates"].shape[:1]
        for example in batch["examples"].tolist():
            found[example] = found.get(example, 0) + 1
    lines = list(task.predictions(Scored(dict.fromkeys(found, 2.0), found, {})))
    assert [line["id"] for line in lines] == [0, 1, 2, 3]
    assert [line["tokens"] for line in lines] == [*(found[text] for text in range(3)), found.get(3, 0)]


def test_windows_end_with_a_row() -> None:
    """Cut every five tokens, no two words of different parts are a pair."""
    whole = make(seq_len=16, window=1)
    cut = make(seq_len=5, window=1, pack=False)
    assert len(told(cut.val_dataloader())) < len(told(whole.val_dataloader()))


def test_what_is_learned_stands_in_its_fingerprint() -> None:
    prints = [make().made_of, make(window=3).made_of, make(negatives=2).made_of, make(kind="cbow").made_of]
    assert all(one != other for one, other in pairwise(sorted(prints)))
    assert make().made_of == prints[0]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"window": 0}, "task.window=0: set a number of at least 1."),
        ({"negatives": 0}, "task.negatives=0: set a number of at least 1."),
        ({"subsample": 2.0}, "task.subsample=2.0: set a number from 0 to 1."),
        ({"negatives_power": -1.0}, "task.negatives_power=-1.0: set a number of at least 0."),
        ({"neighbours": 0}, "task.neighbours=0: set a number of at least 1."),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        make(**settings)
    assert str(error.value) == text
