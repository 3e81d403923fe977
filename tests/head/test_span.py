"""Guards a span head that is not BERT's, and a loss that sees places where no answer can be."""

from __future__ import annotations

import math

import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError
from manyheads.head.span import Span


def head_of(weight: list[list[float]], bias: list[float]) -> Span:
    head = Span(dim=len(weight[0]))
    with torch.no_grad():
        head.output.weight.copy_(torch.tensor(weight))
        head.output.bias.copy_(torch.tensor(bias))
    return head


def test_loss_by_hand_is_a_sum_and_a_count() -> None:
    """Of four positions, of which the second is of the question: start logits (0, -, ln 2, 0), end logits all 0. The losses
    are (ln 4 - ln 2 + ln 3) / 2 of a span and (ln 4 + ln 3) / 2 of none; a row without a span adds nothing."""
    head = head_of([[1.0], [0.0]], [0.0, 0.0])
    hidden = torch.tensor([0.0, 9.0, math.log(2), 0.0])[None, :, None].expand(3, 4, 1)
    batch = Batch(
        input_ids=torch.zeros(3, 4, dtype=torch.long),
        token_types=torch.tensor([[0, 0, 1, 1]]).expand(3, 4),
        spans=torch.tensor([[2, 3], [0, 0], [IGNORE, IGNORE]]),
    )
    losses = [(math.log(2) + math.log(3)) / 2, (math.log(4) + math.log(3)) / 2, 0.0]
    scores = head.scores(hidden, batch)
    torch.testing.assert_close(scores.losses, torch.tensor(losses))
    output = head(hidden, batch)
    assert output.loss_sum.item() == pytest.approx(sum(losses), rel=1e-6)
    assert output.count.item() == 2
    assert head.learned(batch).tolist() == [True, True, False]


def test_right_is_a_row_whose_start_and_end_both_are() -> None:
    head = head_of([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    hidden = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])[None].expand(4, 3, 2)
    spans = torch.tensor([[1, 2], [1, 1], [2, 2], [IGNORE, IGNORE]])
    batch = Batch(input_ids=torch.zeros(4, 3, dtype=torch.long), spans=spans)
    assert head.scores(hidden, batch).correct.tolist() == [True, False, False, False]


def test_transformers_computes_the_same() -> None:
    """BertForQuestionAnswering with the same weights: logits, and the mean loss where every position can be an answer."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=23, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=18, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    oracle = transformers.BertForQuestionAnswering(config).eval()
    torch.nn.init.normal_(oracle.qa_outputs.weight, std=0.5)
    torch.nn.init.normal_(oracle.qa_outputs.bias)
    head = head_of(oracle.qa_outputs.weight.tolist(), oracle.qa_outputs.bias.tolist())
    ids = torch.randint(0, 23, (4, 9))
    spans = torch.tensor([[2, 5], [0, 0], [8, 8], [1, 7]])
    types = torch.ones_like(ids)
    with torch.no_grad():
        theirs = oracle(ids, token_type_ids=types, start_positions=spans[:, 0], end_positions=spans[:, 1])
        hidden = oracle.bert(ids, token_type_ids=types).last_hidden_state
        batch = Batch(input_ids=ids, token_types=types, spans=spans)
        start, end = head.span_logits(hidden, batch)
        output = head(hidden, batch)
    torch.testing.assert_close(start, theirs.start_logits)
    torch.testing.assert_close(end, theirs.end_logits)
    torch.testing.assert_close(output.loss_sum / output.count, theirs.loss)


def test_no_logit_where_no_answer_can_be() -> None:
    """The question and padding get none, but for position 0; a loss that is finite tells that none was needed."""
    torch.manual_seed(0)
    head = Span(dim=3)
    batch = Batch(
        input_ids=torch.zeros(1, 6, dtype=torch.long),
        token_types=torch.tensor([[0, 0, 0, 1, 1, 1]]),
        segments=torch.tensor([[1, 1, 1, 1, 1, 0]]),
        spans=torch.tensor([[3, 4]]),
    )
    start, end = head.span_logits(torch.randn(1, 6, 3), batch)
    allowed = [True, False, False, True, True, False]
    assert start.isfinite()[0].tolist() == end.isfinite()[0].tolist() == allowed
    assert head(torch.randn(1, 6, 3), batch).loss_sum.isfinite()


def test_half_precision_is_scored_in_float32() -> None:
    head = Span(dim=3).bfloat16()
    batch = Batch(input_ids=torch.zeros(1, 2, dtype=torch.long), spans=torch.tensor([[0, 1]]))
    assert head(torch.randn(1, 2, 3, dtype=torch.bfloat16), batch).loss_sum.dtype == torch.float32


@pytest.mark.parametrize("name", ["dropout", "init_std"])
def test_numbers_out_of_range_are_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=rf"^head\.{name}=-1"):
        Span(dim=2, **{name: -1})
