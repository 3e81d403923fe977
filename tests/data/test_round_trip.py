"""Guards: a loss that is not said, or said without what it was."""

from manyheads.data.round_trip import SHOWN, RoundTrip, losses
from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer.wordpiece import wordpiece


def test_counts_and_the_first_example_by_hand() -> None:
    """The pieces are a, b, ##b and ab: "c" and "abc" are one unknown token each."""
    source = Rows({"train": ["a b ab b ab"], "validation": ["v"], "test": ["t"]})
    tokenizer = wordpiece(source=source, vocab_size=6)
    lost = RoundTrip()
    for texts in (["a b"], ["a  c", "abc b"]):
        lost.add(tokenizer, texts, tokenizer.encode_batch(texts))
    assert lost == RoundTrip(texts=3, changed=2, tokens=6, unknown=2, before="a  c", after="a [UNK]")
    assert losses(tokenizer, {"train": RoundTrip(texts=5), "test": lost}) == [
        "texts that wordpiece tokens do not give back as they were: 2 of 3 in test (66.7%), e.g. 'a  c' as 'a [UNK]'; "
        "bits per byte counts the bytes of the raw text",
        "unknown tokens of wordpiece: 2 of 6 in test (33.33%); each costs less than what it stands for, so bits per byte "
        "flatters",
    ]


def test_the_example_is_cut_around_the_change() -> None:
    class Cut:
        lossless, unknown_id, name = False, None, "cut"

        def decode_batch(self, ids: list) -> list[str]:
            return ["x" * 100]

    lost = RoundTrip()
    lost.add(Cut(), ["x" * 100 + "yz"], [[0]])  # type: ignore[arg-type]
    assert (lost.before, lost.after) == ("x" * (SHOWN // 2) + "yz", "x" * (SHOWN // 2))


def test_a_lossless_tokenizer_is_not_decoded() -> None:
    lost = RoundTrip()
    lost.add(byte_tokenizer(), ["a"], None)  # type: ignore[arg-type]
    assert lost == RoundTrip()
    assert losses(byte_tokenizer(), {"train": lost}) == []
