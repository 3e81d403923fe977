"""Guards: a character that training did not see counted as nothing."""

from manyheads.testing import Rows
from manyheads.tokenizer.character import character


def test_ids_are_the_characters_then_bytes_then_the_end() -> None:
    tokenizer = character(source=Rows({"train": ["bca", "aé"], "validation": ["z"], "test": ["y"]}))
    assert tokenizer.encode("abcé") == [0, 1, 2, 3]
    assert tokenizer.vocab_size == 4 + 256 + 1
    assert tokenizer.encode("z") == [4 + ord("z")]
    assert tokenizer.encode("ü") == [4 + 0xC3, 4 + 0xBC]
    assert tokenizer.decode([0, 4 + 0xC3, 4 + 0xBC, 1]) == "aüb"
