"""Guards: ids that are not the bytes' values."""

from manyheads.testing import Rows
from manyheads.tokenizer.byte import byte


def test_ids_are_the_bytes() -> None:
    tokenizer = byte(source=Rows({"train": []}))
    text = "Grüße\x00\n🙂 <|endoftext|>"
    assert tokenizer.encode(text) == list(text.encode())
    assert (tokenizer.vocab_size, tokenizer.end_id, tokenizer.name, tokenizer.lossless) == (257, 256, "byte", True)
    long = "ab é\n" * 20_000
    assert tokenizer.encode(long) == list(long.encode())


def test_each_byte_value_decodes_to_itself() -> None:
    tokenizer = byte(source=Rows({"train": []}))
    assert [tokenizer.decode([value]) for value in range(128)] == [chr(value) for value in range(128)]
    assert tokenizer.decode([0xC3, 0xA9, 0xFF]) == "é\ufffd"
