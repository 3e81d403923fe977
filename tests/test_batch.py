"""Guards: values that stand for "nothing here" and could also be something."""

import torch
import torch.nn.functional as F

from manyheads.batch import IGNORE, NO_EXAMPLE, Batch


def test_torch_ignores_our_ignore_without_being_told() -> None:
    """Code from elsewhere calls cross_entropy without ignore_index."""
    logits = torch.randn(3, 5)
    labels = torch.tensor([1, IGNORE, 4])
    kept = torch.tensor([0, 2])
    assert torch.equal(F.cross_entropy(logits, labels), F.cross_entropy(logits[kept], labels[kept]))


def test_no_example_is_no_place_in_a_split() -> None:
    assert NO_EXAMPLE < 0
    assert NO_EXAMPLE != IGNORE


def test_a_batch_needs_its_input_ids_alone() -> None:
    """`total=False` says so to type checkers; a Batch is a plain dict for Lightning to move between devices."""
    batch = Batch(input_ids=torch.zeros(1, 2, dtype=torch.long))
    assert type(batch) is dict
    assert Batch.__required_keys__ == frozenset()
    assert Batch.__optional_keys__ == {
        "input_ids", "labels", "positions", "segments", "examples", "num_bytes", "source_ids", "source_segments",
        "token_types", "classes", "spans", "num_tokens", "pseudo_labels", "member", "candidates", "counts",
        "lanes", "num_lanes",
    }  # fmt: skip
