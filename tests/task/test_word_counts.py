"""WordCounts: its pairs, and a loss curve held to GloVe written out in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from manyheads.batch import Batch
from manyheads.errors import UserError
from manyheads.head.cooccurrence import Cooccurrence
from manyheads.model.glove import Glove
from manyheads.task.base import Scored
from manyheads.task.word_counts import WordCounts
from manyheads.testing import Rows
from manyheads.tokenizer.word import word

TEXTS = ["the cat sees a dog and the dog sees a cow", "the dog sees a cow and the cow sees a hen", "", "a zebra"]
SPLITS = {"train": TEXTS, "validation": ["the cat sees the dog"], "test": ["the dog", "a zebra and a hen"]}


def make(splits: Any = SPLITS, **settings: Any) -> WordCounts:
    source = Rows(splits)
    given = {"batch_size": 2, "pairs": 5, "window": 3} | settings
    return WordCounts(source=source, tokenizer=word(source=source, min_count=2), seed=1, **given)


class InNumpy:
    """GloVe with plain gradient descent on the mean loss of each batch (Pennington et al. 2014, equation 8)."""

    def __init__(self, w: np.ndarray, u: np.ndarray, rate: float) -> None:
        self.w, self.u, self.a, self.b = w.copy(), u.copy(), np.zeros(len(w)), np.zeros(len(w))
        self.rate = rate

    def step(self, batch: Batch) -> float:
        (i, j), x = batch["input_ids"].numpy().T, batch["counts"][:, 0].numpy().astype(np.float64)
        weight = np.minimum(1, (x / 5) ** 0.75)
        off = (self.w[i] * self.u[j]).sum(1) + self.a[i] + self.b[j] - np.log(x)
        slope = -self.rate * 2 * (weight * off)[:, None] / len(x)
        of_w, of_u = slope * self.u[j], slope * self.w[i]
        for table, place, by in (
            (self.w, i, of_w),
            (self.u, j, of_u),
            (self.a, i, slope[:, 0]),
            (self.b, j, slope[:, 0]),
        ):
            np.add.at(table, place, by)
        return float((weight * off**2).mean())


def test_the_loss_curve_is_that_of_another_glove_on_the_same_pairs() -> None:
    torch.manual_seed(0)
    task = make()
    size = task.tokenizer.vocab_size
    network, head = Glove(vocab_size=size, dim=6).double(), Cooccurrence(dim=6, vocab_size=size, x_max=5.0).double()
    other = InNumpy(network.embedding.weight.detach().numpy(), head.contexts.weight.detach().numpy(), rate=0.5)
    optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=0.5)
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
    assert np.mean(found[-4:]) < 0.5 * np.mean(found[:4])


def pairs(batches: Any) -> list[tuple[int, int, float]]:
    return [
        (*pair, count)
        for batch in batches
        for pair, count in zip(batch["input_ids"].tolist(), batch["counts"][:, 1].tolist(), strict=True)
    ]


def test_an_epoch_is_every_pair_once() -> None:
    task = make()
    table = task.table("train")
    wanted = sorted(zip(*(column.tolist() for column in table.columns), strict=True))
    found = sorted(pairs(task.train_dataloader()))
    assert [pair[:2] for pair in found] == [pair[:2] for pair in wanted]
    assert [pair[2] for pair in found] == pytest.approx([pair[2] for pair in wanted], rel=1e-6)
    assert len(found) == task.tokens_per_epoch == len(table)
    assert {(second, first) for first, second, _ in found} == {(first, second) for first, second, _ in found}


def test_counts_of_validation_are_scaled_to_those_of_train() -> None:
    task = make()
    assert sum(count for _, _, count in pairs(task.val_dataloader())) == pytest.approx(task.table("train").total)


def test_no_score_depends_on_the_batch_and_two_ranks_have_every_pair() -> None:
    wanted = sorted(pairs(make().val_dataloader()))
    assert sorted(pairs(make(eval_batch_size=1, pairs=1).val_dataloader())) == wanted
    found = []
    for rank in range(2):
        task = make(eval_batch_size=1, pairs=4)
        task._rank = lambda rank=rank: (rank, 2)  # type: ignore[method-assign]
        found += [pair for pair in pairs(task.val_dataloader()) if pair[2]]
    assert sorted(found) == wanted


def test_a_resume_goes_on_with_the_next_batch() -> None:
    loader = make().train_dataloader()
    begun = iter(loader)
    next(begun)
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    assert pairs(resumed.train_dataloader()) == pairs(begun)


def test_a_line_for_each_word() -> None:
    task = make()
    found: dict[int, int] = {}
    for batch in task.test_dataloader():
        for example in batch["examples"].tolist():
            found[example] = found.get(example, 0) + 1
    lines = list(task.predictions(Scored(dict.fromkeys(found, 1.5), found, {})))
    assert sorted(line["input"] for line in lines) == ["a", "and", "dog", "the"]
    assert sum(line["tokens"] for line in lines) == len(task.table("test"))
    assert task.by_source("test", Scored({}, {}, {})) == {}


def test_what_is_counted_stands_in_its_fingerprint() -> None:
    assert len({make().made_of, make(window=2).made_of, make(shuffle=False).made_of}) == 3
    assert make().made_of == make(batch_size=9).made_of


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match=r"task\.pairs=0: set a number of at least 1\."):
        make(pairs=0)
    with pytest.raises(UserError, match=r"task\.window=0: set a number of at least 1\."):
        make(window=0)
    with pytest.raises(UserError, match=r"test has no two known words near each other"):
        make({**SPLITS, "test": ["zebra", "the"]}).prepare()
