"""The heads of a mixture: one for each of its tasks, over one network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.head.base import Head, HeadOutput, Objective, Scores


@final
class Members(Head):
    """Passes each batch on to the head of the member that it is of (`member` of a Batch).

    Nothing is shared between the heads but what the network ties them to: an output matrix that is its embedding. The
    losses of members are logged apart, `train/<name>/<member>`, besides their sum over count as `train/loss`.

    Args:
        heads: of the members, by name.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"causal", "bidirectional", "encoder-decoder"})
    partial: ClassVar[bool] = True

    def __init__(self, *, heads: Mapping[str, Head]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(heads)

    def of(self, member: str | None) -> Head:
        """The head of that member."""
        assert member is not None, "a batch of a mixture says of which member it is"
        head = self.members[member]
        assert isinstance(head, Head)
        return head

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        return self._of(batch)(hidden, batch)

    def objective(self, hidden: Tensor, batch: Batch) -> Objective:
        """The member's own; its loss is logged apart too."""
        found = self._of(batch).objective(hidden, batch)
        terms = {"loss": found.output, **found.terms}
        return found._replace(terms={f"{name}/{batch.get('member')}": term for name, term in terms.items()})

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        return self._of(batch).scores(hidden, batch)

    def learned(self, batch: Batch) -> Tensor:
        return self._of(batch).learned(batch)

    def losses(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self._of(batch).losses(hidden, batch)

    def _of(self, batch: Batch) -> Head:
        return self.of(batch.get("member"))


def parts_of(head: Head) -> dict[str, Head]:
    """The heads of the members by name; a single task's head by an empty one."""
    return {name: head.of(name) for name in head.members} if isinstance(head, Members) else {"": head}
