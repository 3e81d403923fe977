"""Guards: a batch that goes to another member's head, and a head that changes what a member's own says."""

import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.head.label import Label
from manyheads.head.members import Members, parts_of
from manyheads.head.next_token import NextToken

HIDDEN = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
BATCHES = {
    "topics": Batch(input_ids=torch.zeros(2, 3), classes=torch.tensor([1, 0])),
    "text": Batch(input_ids=torch.zeros(2, 3), labels=torch.tensor([[1, 2, 0], [4, IGNORE, IGNORE]])),
}


def members() -> Members:
    torch.manual_seed(0)
    topics = Label(dim=4, labels=["a", "b"], init_std=1.0)
    return Members(heads={"topics": topics, "text": NextToken(dim=4, vocab_size=5, init_std=1.0, z_loss=0.1)})


@pytest.mark.parametrize("name", BATCHES)
def test_each_batch_is_answered_as_by_its_members_head_alone(name: str) -> None:
    head, batch = members(), BATCHES[name]
    own, marked = head.of(name), Batch(**{**batch, "member": name})
    for method in ("forward", "scores"):
        expected, found = getattr(own, method)(HIDDEN, batch), getattr(head, method)(HIDDEN, marked)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True) if a is not None)
    assert torch.equal(head.learned(marked), own.learned(batch))
    assert torch.equal(head.losses(HIDDEN, marked), own.losses(HIDDEN, batch))
    assert torch.equal(head.objective(HIDDEN, marked).total, own.objective(HIDDEN, batch).total)


def test_losses_of_training_are_logged_by_member() -> None:
    head = members()
    found = {name: head.objective(HIDDEN, Batch(**{**BATCHES[name], "member": name})) for name in BATCHES}
    assert set(found["topics"].terms) == {"loss/topics"}
    assert set(found["text"].terms) == {"loss/text", "z_loss/text"}
    assert found["text"].terms["loss/text"] == found["text"].output


def test_a_step_of_one_member_leaves_no_gradient_for_the_others() -> None:
    """Guards: zeros in the place of none, with which weight decay and momentum would move a head that had no turn."""
    head = members()
    head.objective(HIDDEN, Batch(**{**BATCHES["topics"], "member": "topics"})).total.backward()
    assert all(p.grad is not None for p in head.of("topics").parameters())
    assert all(p.grad is None for p in head.of("text").parameters())


def test_the_heads_by_name() -> None:
    head = members()
    assert {name: type(part) for name, part in parts_of(head).items()} == {"topics": Label, "text": NextToken}
    alone = head.of("text")
    assert parts_of(alone) == {"": alone}
    assert alone.of(None) is alone.of("text") is alone
