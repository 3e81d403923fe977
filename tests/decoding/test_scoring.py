"""Guards the score of texts: every label once, whatever the windows and the batches."""

import math

import pytest
import torch
import torch.nn.functional as F

from manyheads.batch import Batch
from manyheads.decoding.scoring import score
from manyheads.errors import UserError
from manyheads.testing import scripted, tiny_network, uniform

V, END = 7, 6
TEXTS = [[1, 2, 3, 4, 5, 0, 1, 2, 3], [4], [5, 5, 5]]
LABELS = 9 + 1 + 3 + 3


@pytest.mark.parametrize("batch_size", [1, 2, 16])
@pytest.mark.parametrize(
    ("seq_len", "stride"), [(None, None), (1, None), (4, None), (4, 1), (4, 3), (10, None), (99, 2)]
)
def test_each_label_counts_once_and_the_end_is_one(seq_len: int | None, stride: int | None, batch_size: int) -> None:
    """A uniform network's loss is ln V per label, so a label too many or too few shows."""
    found = score(*uniform(V), TEXTS, end_id=END, seq_len=seq_len, stride=stride, batch_size=batch_size)
    assert found == (pytest.approx(LABELS * math.log(V), rel=1e-6), LABELS)


def test_the_labels_are_the_texts_own_tokens() -> None:
    """A network that knows the one text is certain of each label; any shift would cost infinitely much."""
    text = [3, 1, 4, 1, 5]
    network, head = scripted(lambda read: [*text, END][len(read) - 1], V)
    assert score(network, head, [text, text], end_id=END) == (0.0, 12)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(("seq_len", "stride"), [(4, None), (4, 2), (20, None)])
def test_a_real_decoder_scores_as_window_by_window(seq_len: int, stride: int | None, batch_size: int) -> None:
    """The oracle cuts by hand and reads one window at a time, unpadded."""
    network, head = tiny_network(V)
    total = 0.0
    for text in TEXTS:
        inputs, labels, done = [END, *text], [*text, END], 0
        for start in range(0, len(inputs), stride or seq_len):
            window = inputs[start : start + seq_len]
            logits = head.logits(network(Batch(input_ids=torch.tensor([window]))))[0]
            losses = F.cross_entropy(logits, torch.tensor(labels[start : start + len(window)]), reduction="none")
            total += losses[done - start :].sum().item()
            done = start + len(window)
            if done == len(inputs):
                break
    found = score(network, head, TEXTS, end_id=END, seq_len=seq_len, stride=stride, batch_size=batch_size)
    assert found == (pytest.approx(total, rel=1e-5), LABELS)
    assert network.training  # it was, and it is again


@pytest.mark.parametrize(("name", "value"), [("stride", 0), ("stride", 5), ("batch_size", 0), ("stride", 1.5)])
def test_settings_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(UserError, match=f"{name}={value}: set a"):
        score(*uniform(V), TEXTS, end_id=END, seq_len=4, **{name: value})
