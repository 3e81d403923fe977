"""Guards the loss and the gradients of word2vec, held to formulas written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.head.negative_sampling import NegativeSampling
from manyheads.model.word2vec import Word2Vec


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_hand(
    vectors: np.ndarray, contexts: np.ndarray, read: list[list[int]], candidates: list[list[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The loss of each row and the gradients of their sum (Mikolov et al. 2013b, equation 4), word by word."""
    losses, of_vectors, of_contexts = np.zeros(len(read)), np.zeros_like(vectors), np.zeros_like(contexts)
    for row, (words, told) in enumerate(zip(read, candidates, strict=True)):
        state = sum(vectors[word] for word in words) / len(words)
        for place, word in enumerate(told):
            if IGNORE in (word, told[0]):
                continue
            sign = 1.0 if place == 0 else -1.0
            chance = logistic(sign * contexts[word] @ state)
            losses[row] -= np.log(chance)
            slope = sign * (chance - 1)
            of_contexts[word] += slope * state
            for one in words:
                of_vectors[one] += slope * contexts[word] / len(words)
    return losses, of_vectors, of_contexts


READ = [[3], [4], [3], [6]]
WINDOWS = [[3, 5], [4], [3, 3, 1], [6, 2]]
CANDIDATES = [[5, 1, 2], [5, 4, IGNORE], [IGNORE, 1, 1], [0, 0, 7]]


@pytest.mark.parametrize(("objective", "read"), [("skip_gram", READ), ("cbow", WINDOWS)])
def test_losses_and_gradients_are_the_formulas(objective: str, read: list[list[int]]) -> None:
    torch.manual_seed(0)
    network, head = Word2Vec(vocab_size=8, dim=3, objective=objective).double(), NegativeSampling(dim=3, vocab_size=8)  # type: ignore[arg-type]
    head = head.double()
    for table in (network.embedding, head.contexts):
        torch.nn.init.normal_(table.weight)
    width = max(map(len, read))
    batch = Batch(
        input_ids=torch.tensor([[*row, *[0] * (width - len(row))] for row in read]),
        segments=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in read]),
        candidates=torch.tensor(CANDIDATES),
    )
    hidden = network(batch)
    output = head(hidden, batch)
    output.loss_sum.backward()
    losses, of_vectors, of_contexts = by_hand(
        network.embedding.weight.detach().numpy(), head.contexts.weight.detach().numpy(), read, CANDIDATES
    )
    np.testing.assert_allclose(head.losses(hidden, batch)[:, 0].detach(), losses, rtol=1e-12)
    assert int(output.count) == 3
    assert output.loss_sum.item() == pytest.approx(losses.sum(), rel=1e-12)
    assert network.embedding.weight.grad is not None
    np.testing.assert_allclose(network.embedding.weight.grad, of_vectors, rtol=1e-10, atol=1e-14)
    assert head.contexts.weight.grad is not None
    np.testing.assert_allclose(head.contexts.weight.grad, of_contexts, rtol=1e-10, atol=1e-14)


def test_a_word_is_told_when_no_drawn_one_has_as_high_a_score() -> None:
    head = NegativeSampling(dim=1, vocab_size=4)
    head.contexts.weight.data = torch.tensor([[0.0], [1.0], [2.0], [2.0]])
    candidates = torch.tensor([[2, 1, 0], [2, 3, 0], [1, IGNORE, 0], [IGNORE, 0, 0]])
    scores = head.scores(torch.ones(4, 1, 1), Batch(candidates=candidates))
    assert scores.correct[:, 0].tolist() == [True, False, True, False]
    assert scores.losses[3, 0].item() == 0.0


def test_at_the_start_every_choice_is_even() -> None:
    head = NegativeSampling(dim=4, vocab_size=9)
    output = head(torch.randn(5, 1, 4), Batch(candidates=torch.randint(9, (5, 6))))
    assert output.loss_sum.item() / int(output.count) == pytest.approx(6 * np.log(2), rel=1e-6)
    assert torch.equal(head.vectors(head.contexts.weight), head.contexts.weight)


def test_a_batch_without_words_has_a_gradient_of_zero() -> None:
    head, hidden = NegativeSampling(dim=4, vocab_size=9), torch.zeros(0, 1, 4, requires_grad=True)
    output = head(hidden, Batch(candidates=torch.zeros(0, 6, dtype=torch.int64)))
    output.loss_sum.backward()
    assert (output.loss_sum.item(), int(output.count)) == (0.0, 0)
