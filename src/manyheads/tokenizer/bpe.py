"""Byte-level BPE, trained on the training split alone."""

from __future__ import annotations

from tokenizers import pre_tokenizers, trainers

from manyheads.data.source import Source
from manyheads.errors import check_range
from manyheads.marks import builder
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.bytelevel import NUM_BYTES, byte_characters, byte_level, with_end
from manyheads.tokenizer.training import check_filled, trained_once

_LAYOUT = 1


@builder
def bpe(*, source: Source, vocab_size: int = 2048, min_frequency: int = 2) -> Tokenizer:
    """Byte-pair encoding (Sennrich et al. 2016) over bytes, with GPT-2's pre-tokenizer (Radford et al. 2019).

    Ids: the 256 bytes in the order of their `byte_characters`, then merges by rank, then the end of a text, `vocab_size` in all. Trained once, then cached.

    Args:
        source: its "train" texts are read, no other.
        vocab_size: number of ids, at least 257.
        min_frequency: a pair that is rarer is not merged.

    Raises UserError when the training split cannot fill the vocabulary.
    """
    check_range(
        "tokenizer.vocab_size", vocab_size, NUM_BYTES + 1, hint="256 of them are the bytes, 1 the end of a text."
    )
    check_range("tokenizer.min_frequency", min_frequency, 1)

    settings = [_LAYOUT, vocab_size, min_frequency]
    return trained_once("bpe", source, settings, lambda: _train(source, vocab_size, min_frequency))


def _train(source: Source, vocab_size: int, min_frequency: int) -> Tokenizer:
    backend = byte_level({}, [])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=min_frequency,
        initial_alphabet=byte_characters(),
        show_progress=False,
    )
    backend.train_from_iterator(source.texts("train"), trainer=trainer)
    check_filled(vocab_size, backend.get_vocab_size() + 1)
    return with_end(backend, "bpe")
