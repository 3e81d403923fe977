"""The layout of tokens on disk, what the cache goes by, and how bytes are counted."""

import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from manyheads.data import store as module
from manyheads.data.cache import fingerprint
from manyheads.data.round_trip import RoundTrip
from manyheads.data.source import Source
from manyheads.data.store import TokenStore, tokenize
from manyheads.errors import UserError

END = 256


class Texts(Source):
    """Texts in memory that counts how often it is read."""

    def __init__(self, texts: Sequence[str], *, join_rows: bool = False, batch: int = 2) -> None:
        super().__init__(name="texts", join_rows=join_rows, validation_fraction=0.05)
        self._texts, self._batch, self.reads = list(texts), batch, 0

    fingerprint = property(lambda self: fingerprint(self._texts))
    given = ("train", "validation", "test")

    def load(self, split: str):
        raise AssertionError("rows are not needed")

    def texts(self, split: str) -> Iterator[list[str]]:
        self.reads += 1
        for i in range(0, len(self._texts), self._batch):
            yield self._texts[i : i + self._batch]


class Bytes:
    """A token for each byte; for `lossy`, a token for each letter a to z and nothing for anything else."""

    end_id, name = END, "bytes"

    def __init__(self, *, lossy: bool = False, vocab_size: int = 257, salt: str = "") -> None:
        self.lossless, self.vocab_size, self._lossy, self._salt = not lossy, vocab_size, lossy, salt

    @property
    def fingerprint(self) -> str:
        return fingerprint("bytes", self._lossy, self._salt)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[b for b in text.encode() if not self._lossy or chr(b).islower()] for text in texts]

    unknown_id = None

    def decode_batch(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return [bytes(one).decode() for one in ids]


def layout(store: TokenStore) -> tuple[list, list, list, list]:
    return tuple(a.tolist() for a in (store.tokens, store.document_starts, store.piece_ends, store.byte_ends))


def test_each_document_stands_between_ends():
    """Guards: an END missing or doubled at a border, or an empty row that leaves one."""
    store = tokenize(Texts(["ab", "", "é", "c"]), "train", Bytes())
    tokens = [END, 97, 98, END, 0xC3, 0xA9, END, 99, END]
    assert layout(store) == (tokens, [0, 3, 6, 8], [0, 3, 6, 8], [0, 2, 4, 5])
    assert (store.num_rows, store.num_empty, store.num_documents, store.num_tokens, store.num_bytes) == (4, 1, 3, 8, 5)


def test_joined_rows_are_one_document_without_anything_between():
    """Guards: an END between the lines of one text, and a last END that no label stands for."""
    store = tokenize(Texts(["ab\n", "", "é", "c"], join_rows=True), "train", Bytes())
    tokens = [END, 97, 98, 10, 0xC3, 0xA9, 99, END]
    assert layout(store) == (tokens, [0, 7], [0, 3, 5, 6, 7], [0, 3, 5, 6, 6])
    assert (store.num_rows, store.num_empty, store.num_documents, store.num_tokens, store.num_bytes) == (4, 1, 1, 7, 6)


def test_bytes_of_text_that_has_no_token_are_counted_with_the_next_label():
    """Guards: raw bytes lost, which would flatter a tokenizer that drops what it does not know."""
    rows = ["ÄÄ", "a", "ÖÖÖ", "b", "Ü"]
    joined = tokenize(Texts(rows, join_rows=True), "train", Bytes(lossy=True))
    assert layout(joined) == ([END, 97, 98, END], [0, 3], [0, 1, 2, 3], [0, 5, 12, 14])
    single = tokenize(Texts(rows), "train", Bytes(lossy=True))
    assert layout(single)[0] == [END, END, 97, END, END, 98, END, END]
    assert layout(single)[2:] == ([0, 1, 3, 4, 6, 7], [0, 4, 5, 11, 12, 14])


def test_nothing_but_empty_rows_is_an_empty_store():
    """Guards: a crash, or a lone END taken for a label."""
    for join_rows in (False, True):
        store = tokenize(Texts(["", ""], join_rows=join_rows), "train", Bytes())
        assert layout(store) == ([END], [0], [0], [0])
        assert (store.num_documents, store.num_tokens, store.num_bytes) == (0, 0, 0)
        assert store.bytes_until(np.array([0])).tolist() == [0]


def test_bytes_of_ranges_that_follow_on_each_other_add_up():
    """Guards: bytes counted twice or not at all where a text is cut; every way to cut into three is tried."""
    store = tokenize(Texts(["aÄb", "Ö", "cdÜÜ", "ÄÄ"], join_rows=True), "train", Bytes(lossy=True))
    last = store.num_tokens
    for i in range(last + 1):
        for j in range(i, last + 1):
            starts, ends = np.array([0, i, j]), np.array([i, j, last])
            sizes = store.bytes_of(starts, ends - starts)
            assert sizes.min() >= 0
            assert sizes.sum() == store.num_bytes == 16
    # "aÄb" has 4 bytes for 2 labels; "cd" gets the 2 of Ö too: 8 for 2; the 4 of ÄÄ are left to END
    assert store.bytes_until(np.arange(6)).tolist() == [0, 2, 4, 8, 12, 16]


def test_chunks_do_not_change_what_is_written(monkeypatch: pytest.MonkeyPatch):
    """Guards: a piece lost or joined wrongly at the border of a batch or of a chunk."""
    rows = ["one", "", "zwei Ä", "x" * 50, "", "drei"]
    for join_rows in (False, True):
        expected = layout(tokenize(Texts(rows, join_rows=join_rows, batch=6), "train", Bytes()))
        for batch in (1, 2, 5):
            for characters in (1, 7, 1000):
                monkeypatch.setattr(module, "CHUNK_CHARACTERS", characters)
                salt = Bytes(salt=f"{batch} {characters}")
                assert layout(tokenize(Texts(rows, join_rows=join_rows, batch=batch), "train", salt)) == expected


def test_a_large_vocabulary_gets_wide_tokens():
    """Guards: ids that wrap around at 65,536."""

    for vocab_size, dtype in ((65_536, np.uint16), (65_537, np.uint32)):
        tokenizer = Bytes(vocab_size=vocab_size, salt=str(vocab_size))
        tokenizer.end_id = vocab_size - 1
        store = tokenize(Texts(["ab"]), "train", tokenizer)
        assert store.tokens.tolist() == [vocab_size - 1, 97, 98, vocab_size - 1]
        assert store.tokens.dtype == dtype


def test_cache_is_used_again_and_only_for_the_same_content():
    """Guards: tokenizing in vain, and tokens of another text, tokenizer, split or joining."""
    source = Texts(["cache", "me"])
    tokenize(source, "train", Bytes())
    tokenize(source, "train", Bytes())
    assert source.reads == 1
    tokenize(source, "test", Bytes())
    tokenize(source, "train", Bytes(salt="other"))
    assert source.reads == 3
    for other in (Texts(["cache", "you"]), Texts(["cache", "me"], join_rows=True)):
        tokenize(other, "train", Bytes())
        assert other.reads == 1


def test_a_source_that_fails_leaves_nothing_behind():
    """Guards: half a store that the next run takes for whole."""

    class Broken(Texts):
        def texts(self, split: str) -> Iterator[list[str]]:
            yield ["first"]
            raise UserError("line 2 is broken")

    with pytest.raises(UserError, match="line 2"):
        tokenize(Broken(["first", "second"]), "train", Bytes())
    assert tokenize(Texts(["first", "second"]), "train", Bytes()).num_documents == 2


def test_a_store_travels_to_a_worker_as_a_path():
    """Guards: a gigabyte of tokens pickled into each worker that is spawned."""
    store = tokenize(Texts(["z" * 5000]), "train", Bytes())
    assert store.num_tokens == 5001  # the tokens are open
    text = pickle.dumps(store)
    assert len(text) < 500
    assert pickle.loads(text).tokens.tolist() == store.tokens.tolist()


def test_a_cached_store_needs_no_datasets():
    """Guards: a second of imports before the first step of a run whose tokens are there."""
    code = (
        "import sys; from manyheads.data.store import tokenize; import manyheads.data.source; "
        "assert not {'datasets', 'pyarrow', 'pandas'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_does_not_come_back_is_counted_over_all_chunks(monkeypatch: pytest.MonkeyPatch):
    """Guards: counts of the last chunk alone, and a lossless tokenizer that is decoded for nothing."""
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", 1)
    rows = ["ab", "A", "", "c!", "d"]
    lost = tokenize(Texts(rows), "train", Bytes(lossy=True, salt="round")).round_trip
    assert (lost.texts, lost.changed, lost.tokens, lost.before, lost.after) == (4, 2, 4, "A", "")
    assert tokenize(Texts(rows), "train", Bytes(salt="round")).round_trip == RoundTrip()
