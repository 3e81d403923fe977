"""Guards: a network of our own that is written in a shape that cannot be read back."""

import torch

from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.layout.own import Own

OWN = Own()
NETWORK = Decoder(vocab_size=11, dim=8, num_layers=1, num_heads=2, norm_position="post", positions="sinusoidal")


def test_it_fits_every_network() -> None:
    assert OWN.fits(NETWORK.settings, NextToken(dim=8, vocab_size=11, bias=True))


def test_the_settings_come_back_without_what_belongs_to_the_file() -> None:
    file = {"model_type": "manyheads", "architectures": ["Decoder"], "bos_token_id": 0, "eos_token_id": 0,
            "tie_word_embeddings": True, "dtype": "float32"}  # fmt: skip
    settings = OWN.settings(file | OWN.config(NETWORK.settings))
    assert settings == NETWORK.settings
    Decoder(**settings)  # takes them all


def test_tensors_keep_their_names_and_share_no_memory() -> None:
    """safetensors refuses tensors that share memory."""
    weight = torch.ones(2, 2)
    out = OWN.rename_out({"network.a": weight, "head.weight": weight}, NETWORK.settings)
    assert list(out) == ["network.a", "head.weight"]
    assert out["network.a"].data_ptr() != out["head.weight"].data_ptr()
    assert OWN.rename_in(out, NETWORK.settings) == out
