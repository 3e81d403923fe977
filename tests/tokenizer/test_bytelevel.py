"""Guards: a byte without a character of its own."""

from tokenizers.pre_tokenizers import ByteLevel

from manyheads.tokenizer.bytelevel import byte_characters


def test_the_characters_are_those_of_the_library() -> None:
    characters = byte_characters()
    assert len(characters) == 256
    assert set(characters) == set(ByteLevel.alphabet())
    assert [characters[ord(letter)] for letter in "Az~"] == ["A", "z", "~"]
    assert (characters[0], characters[ord(" ")], characters[ord("\n")]) == ("Ā", "Ġ", "Ċ")
