"""Guards the tools that other tests lean on: a fake that forgives would let every mistake through."""

import math

import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.testing import Rows, byte_tokenizer, scripted, tiny_network, uniform


def test_rows_are_a_source_of_their_texts() -> None:
    source = Rows({"train": ["a", "b"], "validation": [], "test": ["c"]})
    assert source.given == ("train", "validation", "test")
    assert [list(texts) for texts in source.texts("test")] == [["c"]]
    assert source.load("validation").features["text"].dtype == "string"


def test_the_fingerprint_of_rows_follows_texts_and_splits() -> None:
    """A store that is cached under it must not be taken for another."""
    prints = {
        Rows({"train": ["a", "b"]}).fingerprint,
        Rows({"train": ["ab"]}).fingerprint,
        Rows({"test": ["a", "b"]}).fingerprint,
        Rows({"train": ["a", "b"]}, join_rows=True).fingerprint,
    }
    assert len(prints) == 4
    assert Rows({"train": ["a", "b"]}).fingerprint in prints


def test_the_byte_tokenizer_is_the_bytes() -> None:
    tokenizer = byte_tokenizer()
    assert tokenizer.encode("aé") == [97, 0xC3, 0xA9]
    assert (tokenizer.end_id, tokenizer.vocab_size) == (256, 257)


def test_the_tiny_network_is_the_same_each_time_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    one, two = tiny_network(5, seed=3), tiny_network(5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    batch = Batch(input_ids=torch.tensor([[1, 2, 3]]))
    assert torch.equal(one[1].logits(one[0](batch)), two[1].logits(two[0](batch)))


def test_a_scripted_network_reads_each_segment_for_itself() -> None:
    """In a packed row the second text starts anew."""
    network, head = scripted(lambda read: len(read), 9)
    batch = Batch(
        input_ids=torch.tensor([[1, 2, 3, 4, 0]]),
        segments=torch.tensor([[1, 1, 2, 2, 0]]),
        positions=torch.tensor([[0, 1, 0, 1, 0]]),
    )
    assert head.logits(network(batch)).argmax(-1).tolist() == [[1, 2, 1, 2, 0]]
    assert network.shapes == [(1, 5)]


def test_a_scripted_network_refuses_a_wrong_position_and_a_full_cache() -> None:
    network, _ = scripted(lambda read: 0, 9, max_positions=2)
    with pytest.raises(AssertionError):
        network(Batch(input_ids=torch.tensor([[1, 2]]), positions=torch.tensor([[0, 2]])))
    with pytest.raises(AssertionError):
        network(Batch(input_ids=torch.tensor([[1, 2, 3]])))
    with pytest.raises(AssertionError, match="more was read"):
        network(Batch(input_ids=torch.tensor([[1, 2]])), network.new_cache(1, 1))


def test_a_scripted_networks_cache_goes_on_where_it_was() -> None:
    network, _ = scripted(lambda read: sum(read), 9)
    cache = network.new_cache(1, 3)
    network(Batch(input_ids=torch.tensor([[1, 2]])), cache)
    hidden = network(Batch(input_ids=torch.tensor([[4]]), positions=torch.tensor([[2]])), cache)
    assert hidden.argmax(-1).tolist() == [[7]]


def test_a_uniform_network_costs_ln_v_per_label() -> None:
    network, head = uniform(8)
    batch = Batch(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[2, 3, IGNORE]]))
    output = head(network(batch), batch)
    assert output.loss_sum.item() == pytest.approx(2 * math.log(8))
    assert output.count.item() == 2
