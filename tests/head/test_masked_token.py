"""Guards a loss that counts other positions than the masked ones, and a head that is not BERT's."""

from typing import Any

import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.head.masked_token import MaskedToken
from manyheads.model.encoder import Encoder


def case() -> tuple[MaskedToken, torch.Tensor, Batch]:
    torch.manual_seed(0)
    head = MaskedToken(dim=8, vocab_size=13).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    labels = torch.full((3, 7), IGNORE)
    labels[0, 2], labels[0, 6], labels[2, 0] = 4, 12, 0
    hidden = torch.randn(3, 7, 8, dtype=torch.float64, requires_grad=True)
    return head, hidden, Batch(input_ids=labels.clamp(min=0), labels=labels)


def test_logits_at_masked_positions_alone_are_enough() -> None:
    """Loss and every gradient equal those of the logits of all positions; no other position moves anything."""
    head, hidden, batch = case()
    logits = head.logits(hidden)
    assert logits.shape == (3, 7, 13)
    whole = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum")
    output = head(hidden, batch)
    torch.testing.assert_close(output.loss_sum, whole)
    assert output.count.item() == 3
    wanted = [hidden, *head.parameters()]
    torch.testing.assert_close(torch.autograd.grad(output.loss_sum, wanted), torch.autograd.grad(whole, wanted))
    scores = head.scores(hidden, batch)
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
    torch.testing.assert_close(scores.losses, each)
    assert torch.equal(scores.correct, (logits.argmax(-1) == batch["labels"]))


def test_a_batch_without_a_masked_token_is_zero_and_has_gradients() -> None:
    """Guards nan from 0 / 0, and a rank that hands over no gradient while the others wait for it."""
    head, hidden, batch = case()
    output = head(hidden, Batch(labels=torch.full_like(batch["labels"], IGNORE)))
    assert (output.loss_sum.item(), output.count.item()) == (0.0, 0)
    output.loss_sum.backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in head.parameters())


def bert(hidden_size: int) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=31, hidden_size=hidden_size, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.3,
    )  # fmt: skip
    return transformers.BertForMaskedLM(config).eval()


def test_transformers_has_the_same_loss() -> None:
    """BertForMaskedLM over the same states with the same labels, its own head's weights in ours; in random weights no two
    layers can be mistaken for one another."""
    torch.manual_seed(0)
    oracle = bert(16)
    torch.nn.init.normal_(oracle.cls.predictions.bias)
    ids, labels = torch.randint(0, 31, (3, 9)), torch.full((3, 9), IGNORE)
    labels[0, 3], labels[1, 0], labels[2, 8], labels[2, 1] = 5, 30, 0, 17
    predictions = oracle.cls.predictions
    head = MaskedToken(dim=16, vocab_size=31, weight=oracle.bert.embeddings.word_embeddings.weight)
    head.load_state_dict(
        {
            "weight": predictions.decoder.weight,
            "bias": predictions.bias,
            "transform.0.weight": predictions.transform.dense.weight,
            "transform.0.bias": predictions.transform.dense.bias,
            "transform.2.weight": predictions.transform.LayerNorm.weight,
            "transform.2.bias": predictions.transform.LayerNorm.bias,
        }
    )
    wanted = oracle(ids, labels=labels)
    hidden = oracle.bert(ids).last_hidden_state
    output = head(hidden, Batch(input_ids=ids, labels=labels))
    torch.testing.assert_close(output.loss_sum / output.count, wanted.loss)
    torch.testing.assert_close(head.logits(hidden), wanted.logits)


@pytest.mark.parametrize("layers", [1, 2])
def test_roberta_of_transformers_has_the_same_logits(layers: int) -> None:
    """RobertaForMaskedLM's head, whose norm adds 1e-5 under the root: states as small as 0.01 tell it from 1e-12."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=31, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-5,
        type_vocab_size=1,
    )  # fmt: skip
    oracle = transformers.RobertaForMaskedLM(config).eval()
    theirs = oracle.lm_head
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    given = {"weight": theirs.decoder.weight, "bias": theirs.bias}
    for place, layer in ((0, theirs.dense), (2, theirs.layer_norm)):
        given |= {f"transform.{place}.weight": layer.weight, f"transform.{place}.bias": layer.bias}
    hidden = torch.randn(2, 7, 16)
    found = []
    for norm_eps in (1e-5, 1e-12):
        head = MaskedToken(dim=16, vocab_size=31, norm_eps=norm_eps)
        head.load_state_dict(given)
        found.append(head.logits(hidden))
    torch.testing.assert_close(found[0], theirs(hidden), rtol=1e-5, atol=1e-7)
    assert not torch.allclose(found[1], theirs(hidden), rtol=1e-3, atol=1e-7)


def test_the_output_matrix_is_the_embedding() -> None:
    network = Encoder(vocab_size=19, dim=8, num_heads=2, num_layers=1)
    head = MaskedToken(dim=8, vocab_size=19, weight=network.output_weight)
    assert head.weight is network.embedding.weight
    assert {name for name, _ in head.named_parameters()} == {
        "weight", "bias", "transform.0.weight", "transform.0.bias", "transform.2.weight", "transform.2.bias",
    }  # fmt: skip
    plain = MaskedToken(dim=8, vocab_size=19, bias=False, transform=False)
    assert [name for name, _ in plain.named_parameters()] == ["weight"]


def test_transformers_has_the_same_loss_of_tokens_and_pairs() -> None:
    """BertForPreTraining, whose loss is the mean of its masked tokens plus the mean of its pairs; a row that is no pair
    counts in neither. Here 5 tokens and 3 pairs."""
    torch.manual_seed(0)
    transformers = pytest.importorskip("transformers")
    oracle = transformers.BertForPreTraining(bert(16).config).eval()
    for bias in (oracle.cls.predictions.bias, oracle.cls.seq_relationship.bias, oracle.bert.pooler.dense.bias):
        torch.nn.init.normal_(bias)
    ids, labels = torch.randint(0, 31, (4, 9)), torch.full((4, 9), IGNORE)
    labels[0, 3], labels[1, 0], labels[2, 8], labels[2, 1], labels[3, 2] = 5, 30, 0, 17, 9
    types, classes = (torch.arange(9) > 4).long().expand(4, 9), torch.tensor([0, 1, 1, IGNORE])
    predictions = oracle.cls.predictions
    head = MaskedToken(dim=16, vocab_size=31, weight=oracle.bert.embeddings.word_embeddings.weight, pair_weight=5 / 3)
    head.load_state_dict(
        {
            "weight": predictions.decoder.weight,
            "bias": predictions.bias,
            "transform.0.weight": predictions.transform.dense.weight,
            "transform.0.bias": predictions.transform.dense.bias,
            "transform.2.weight": predictions.transform.LayerNorm.weight,
            "transform.2.bias": predictions.transform.LayerNorm.bias,
            "pair.0.weight": oracle.bert.pooler.dense.weight,
            "pair.0.bias": oracle.bert.pooler.dense.bias,
            "pair.2.weight": oracle.cls.seq_relationship.weight,
            "pair.2.bias": oracle.cls.seq_relationship.bias,
        }
    )
    wanted = oracle(ids, token_type_ids=types, labels=labels, next_sentence_label=classes)
    hidden = oracle.bert(ids, token_type_ids=types).last_hidden_state
    batch = Batch(input_ids=ids, labels=labels, classes=classes)
    objective = head.objective(hidden, batch)
    torch.testing.assert_close(objective.total / objective.output.count, wanted.loss)
    assert (int(objective.output.count), int(objective.terms["next_sentence_loss"].count)) == (5, 3)
    told, asked = head.pairs_told(hidden, batch)
    assert asked.tolist() == [True, True, True, False]
    assert told.tolist() == (wanted.seq_relationship_logits.argmax(-1) == classes).tolist()


def test_a_batch_without_a_pair_is_that_of_tokens_and_has_gradients() -> None:
    torch.manual_seed(0)
    head = MaskedToken(dim=8, vocab_size=13, pair_weight=2.0)
    hidden, labels = torch.randn(2, 5, 8), torch.full((2, 5), IGNORE)
    labels[0, 1] = 3
    objective = head.objective(hidden, Batch(labels=labels, classes=torch.full((2,), IGNORE)))
    assert objective.total.item() == objective.output.loss_sum.item() > 0
    objective.total.backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_totals_of_micro_batches_add_up_to_that_of_the_batch() -> None:
    """Guards a pair that weighs more where fewer tokens are hidden beside it: over ranks and micro-batches it must not."""
    torch.manual_seed(0)
    head = MaskedToken(dim=8, vocab_size=13, pair_weight=1.5)
    hidden, labels = torch.randn(3, 5, 8), torch.full((3, 5), IGNORE)
    labels[0, :4], labels[2, 1] = 3, 7
    batch = Batch(labels=labels, classes=torch.tensor([0, IGNORE, 1]))
    parts = [head.objective(hidden[i : i + 1], Batch(labels=labels[i : i + 1], classes=batch["classes"][i : i + 1])).total
             for i in range(3)]  # fmt: skip
    torch.testing.assert_close(head.objective(hidden, batch).total, torch.stack(parts).sum())
