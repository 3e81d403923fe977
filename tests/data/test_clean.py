"""Guards: cleaning that reaches only some rows, changes what it should not, or changes the bytes that scores count."""

import sys
import unicodedata
from pathlib import Path

import pytest

from manyheads.data.clean import Cleaned, lower_case, stop_words, unicode_form
from manyheads.data.source import Source
from manyheads.data.store import tokenize
from manyheads.errors import UserError
from manyheads.testing import Rows, byte_tokenizer

OTHERS = {"validation": ["v"], "test": ["t"]}


def cleaned(texts: list[str], *steps, join_rows: bool = False) -> Source:
    return Cleaned(Rows({"train": texts, **OTHERS}, join_rows=join_rows), steps)


def all_texts(source: Source) -> list[str]:
    return [text for texts in source.texts("train") for text in texts]


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_unicode_forms_are_those_of_the_standard_library(form) -> None:
    texts = ["e\u0301 \u00e9 \ufb01 \uff21", "plain"]
    assert all_texts(cleaned(texts, unicode_form(form))) == [unicodedata.normalize(form, text) for text in texts]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The cat sat on the mat", "cat sat mat"),
        ("THE\nthe end", "\nend"),
        ("theme isn't then", "theme then"),
        ("isn’t it", "it"),
        ("the", ""),
    ],
)
def test_stop_words_go_whole_whatever_their_case_with_the_spaces_behind(text: str, left: str) -> None:
    """Guards: parts of words removed ("theme"), line breaks lost, an apostrophe that splits a word."""
    assert stop_words(["the", "On", "isn't"]).change([text]) == [left]


def test_stop_words_from_a_file_and_what_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("the\n\nof\n", encoding="utf-8")
    assert stop_words(str(path)).key == stop_words(["of", "the"]).key
    assert stop_words(str(path)).said == "without 2 stop words"


def test_stop_words_by_language_need_spacy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    monkeypatch.setitem(sys.modules, "spacy.util", None)
    with pytest.raises(UserError, match=r"data\.stop_words=en is no file.*pip install 'manyheads\[spacy\]'"):
        stop_words("en")
    with pytest.raises(UserError, match=r"data\.stop_words=\[' '\]: there is no word"):
        stop_words([" "])


def test_steps_act_in_order_on_every_split_and_are_told() -> None:
    source = Cleaned(
        Rows({"train": ["A \u0130"], "validation": ["BE"], "test": ["C"]}), [unicode_form("NFD"), lower_case()]
    )
    assert [list(source.texts(split)) for split in source.given] == [[["a i\u0307"]], [["be"]], [["c"]]]
    assert source.notes == ["texts are cleaned: NFD, lower case; bits per byte counts the bytes before it"]


def test_the_fingerprint_goes_by_the_steps_and_their_order() -> None:
    a, b = unicode_form("NFC"), stop_words(["a"])
    found = [cleaned(["x"], *steps).fingerprint for steps in ([a], [b], [a, b], [b, a], [stop_words(["b"])], [])]
    assert len(set(found)) == len(found)


def test_other_columns_and_large_data_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: a window of rows lost or repeated where the data does not fit into one."""
    monkeypatch.setattr("manyheads.data.split.WINDOW_BYTES", 64)
    texts = [f"Row {i}" for i in range(50)]
    source = cleaned(texts, lower_case())
    assert all_texts(source) == [text.lower() for text in texts]


@pytest.mark.parametrize("join_rows", [False, True])
def test_bytes_are_those_of_the_raw_text_also_where_cleaning_leaves_nothing(join_rows: bool) -> None:
    """By hand: "Éa" has 3 bytes, "the" 3, "b the" 5, and NFD writes "É" in 3 bytes. Guards: bytes of the cleaned text,
    or those of a row whose words all went."""
    steps = [unicode_form("NFD"), stop_words(["the"])]
    store = tokenize(cleaned(["Éa", "the", "", "b the"], *steps, join_rows=join_rows), "train", byte_tokenizer())
    assert (store.num_bytes, store.num_rows, store.num_empty) == (11, 4, 1)
    text = "".join(chr(token) if token < 256 else "|" for token in store.tokens.tolist())
    e = "E\u0301".encode().decode("latin-1")
    assert text == (f"|{e}ab |" if join_rows else f"|{e}a||b |")
    if not join_rows:
        ends = store.document_starts
        assert store.bytes_of(ends[:-1], ends[1:] - ends[:-1]).tolist() == [3, 3, 5]


def test_data_that_is_only_scored_is_cleaned_and_not_cut() -> None:
    """Guards a file of one's own of which a cleaned run scored a twentieth alone; bytes are those of the raw text."""
    source = Cleaned(Rows({"train": ["Ä B", "C"]}), [lower_case()]).uncut()
    assert source.given == ("test",)
    assert list(source.pieces("test")) == [(["ä b", "c"], [4, 1])]
