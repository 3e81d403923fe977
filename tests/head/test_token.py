"""Guards the code that heads over a vocabulary share: the same states and labels give every one of them the same loss."""

import torch

from manyheads.batch import IGNORE, Batch
from manyheads.head.masked_token import MaskedToken
from manyheads.head.next_token import NextToken


def test_heads_of_tokens_score_alike() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(11, 6))
    hidden, labels = torch.randn(2, 5, 6), torch.randint(0, 11, (2, 5))
    labels[0, 1:] = IGNORE
    batch = Batch(input_ids=labels, labels=labels)
    following = NextToken(dim=6, vocab_size=11, weight=weight)
    masked = MaskedToken(dim=6, vocab_size=11, weight=weight, bias=False, transform=False)
    torch.testing.assert_close(masked.scores(hidden, batch).losses, following.scores(hidden, batch).losses)
    assert torch.equal(masked.scores(hidden, batch).correct, following.scores(hidden, batch).correct)
    torch.testing.assert_close(masked(hidden, batch).loss_sum, following(hidden, batch).loss_sum)
    assert masked(hidden, batch).count.item() == 6
