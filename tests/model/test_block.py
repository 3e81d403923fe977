import torch
from torch import Tensor, nn

from manyheads.model.attention import Context
from manyheads.model.block import BLOCKS, Block
from manyheads.model.decoder import Decoder

NOTHING = Context(mask=None, is_causal=True, rotation=None, cache=None)


class Times(nn.Module):
    """A sublayer that is one multiplication."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, *_: object) -> Tensor:
        return x * self.factor


class Plus(nn.Module):
    """A norm that is one addition, so that the order of the two shows."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1


def block(kind: str) -> Block:
    parts = {"attention": Times(2.0), "feed_forward": Times(3.0)}
    return BLOCKS[kind](**parts, norm=Plus, dropout=0.0)  # type: ignore[arg-type]


def test_pre_norm_by_hand() -> None:
    """1 + 2 (1 + 1) = 5, then 5 + 3 (5 + 1) = 23."""
    assert block("pre")(torch.ones(1), NOTHING, 0).item() == 23


def test_post_norm_by_hand() -> None:
    """(1 + 2) + 1 = 4, then (4 + 12) + 1 = 17."""
    assert block("post")(torch.ones(1), NOTHING, 0).item() == 17


def test_only_pre_norm_has_a_norm_at_the_end() -> None:
    ends = [Decoder(vocab_size=4, dim=8, norm_position=kind).final_norm for kind in ("pre", "post")]
    assert [isinstance(end, nn.Identity) for end in ends] == [False, True]
