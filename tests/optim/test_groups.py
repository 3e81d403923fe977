"""Which parameters decay, and which are Muon's."""

from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.head.base import Head, HeadOutput, Scores
from manyheads.optim.groups import parameter_groups


class AnyHead(Head):
    def __init__(self, weight: nn.Parameter | None = None) -> None:
        super().__init__()
        self.out = nn.Linear(4, 7)
        if weight is not None:
            self.out.weight = weight

    def forward(self, hidden: Tensor, batch: Batch) -> HeadOutput:
        raise NotImplementedError

    def scores(self, hidden: Tensor, batch: Batch) -> Scores:
        raise NotImplementedError


def model(*, tied: bool) -> nn.ModuleDict:
    embedding = nn.Embedding(7, 4)
    body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Conv1d(4, 4, 3))
    return nn.ModuleDict({"embedding": embedding, "body": body, "head": AnyHead(embedding.weight if tied else None)})


def names(module: nn.Module) -> list[list[str]]:
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    return [[known[id(parameter)] for parameter in group] for group in parameter_groups(module)]


def test_each_parameter_is_in_one_group_by_what_it_is_part_of() -> None:
    """Guards against decayed norms and biases, and against Muon on a head or a convolution."""
    assert names(model(tied=False)) == [
        ["body.0.weight"],
        ["body.2.weight", "head.out.weight"],
        ["embedding.weight", "body.0.bias", "body.1.weight", "body.1.bias", "body.2.bias", "head.out.bias"],
    ]


def test_a_tied_head_is_an_embedding_and_counts_once() -> None:
    """Guards against a shared weight that is updated twice, or decays."""
    matrices, decayed, undecayed = names(model(tied=True))
    assert (matrices, decayed) == (["body.0.weight"], ["body.2.weight"])
    assert undecayed.count("embedding.weight") == 1


def test_frozen_parameters_are_left_out() -> None:
    """Guards against weight decay moving what should not train."""
    frozen = model(tied=False)
    frozen["body"].requires_grad_(False)
    assert names(frozen) == [[], ["head.out.weight"], ["embedding.weight", "head.out.bias"]]
