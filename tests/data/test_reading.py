"""Guards: bytes lost or changed between a file and its rows, and faults that are told without place or remedy."""

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import manyheads.data.reading as reading
from manyheads.data.files import files
from manyheads.data.reading import check_encoding, decoded, is_compressed, lines, open_plain
from manyheads.data.source import SPLITS
from manyheads.errors import UserError

ODD = "one\r\ntwo\rstill two\x0b\x0c\u2028\x85 too\n\n\nGrüße 🙂\x00\n\tno end"


def zipped(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.txt", content)


WRITERS: dict[str, Callable[[Path, bytes], object]] = {
    "plain": lambda path, content: path.write_bytes(content),
    "gz": lambda path, content: path.write_bytes(gzip.compress(content)),
    "bz2": lambda path, content: path.write_bytes(bz2.compress(content)),
    "xz": lambda path, content: path.write_bytes(lzma.compress(content)),
    "zip": zipped,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_every_character_arrives(kind: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one byte cut every UTF-8 character and every CR LF in two."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", chunk)
    file = tmp_path / "no_suffix"
    WRITERS[kind](file, ODD.encode())
    rows = [row for batch in lines(file, "utf-8") for row in batch]
    assert rows == ["one\r\n", "two\rstill two\x0b\x0c\u2028\x85 too\n", "\n", "\n", "Grüße 🙂\x00\n", "\tno end"]
    assert is_compressed(file) == (kind != "plain")


def test_a_long_line_is_read_in_pieces_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_LINE", 10)
    monkeypatch.setattr(reading, "CHUNK_BYTES", 7)
    text = "0123456789" * 5 + "abc\nshort\n" + "x" * 25
    (tmp_path / "f").write_text(text)
    rows = [row for batch in lines(tmp_path / "f", "utf-8") for row in batch]
    assert "".join(rows) == text
    assert max(map(len, rows)) <= 10


@pytest.mark.parametrize("chunk", [3, 7, 1 << 20])
def test_a_long_line_is_cut_before_spaces(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards words in halves, and cuts that depend on how the file was read."""
    monkeypatch.setattr(reading, "LONGEST_LINE", 10)
    monkeypatch.setattr(reading, "CHUNK_BYTES", chunk)
    (tmp_path / "f").write_text("one two three four\nfive  sixseveneightnine ten")
    rows = [row for batch in lines(tmp_path / "f", "utf-8") for row in batch]
    assert rows == ["one two", " three", " four\n", "five ", " sixsevene", "ightnine", " ten"]


def test_a_file_of_one_line_is_split_by_the_fraction(tmp_path: Path) -> None:
    """Guards a line so long that a split of one twentieth got almost half of the text."""
    (tmp_path / "f.txt").write_text("word and more " * 3_000)
    source = files(format="text", path=str(tmp_path / "f.txt"))
    sizes = {split: sum(len(text) for batch in source.texts(split) for text in batch) for split in SPLITS}
    assert sum(sizes.values()) == 42_000
    assert all(abs(sizes[split] - 2_100) < 600 for split in ("validation", "test"))


def test_utf16_without_its_mark_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes("no mark".encode("utf-16-le"))
    with pytest.raises(UserError, match=r"is not UTF-16: .*BOM.*Set data\.encoding .*utf-16-le"):
        list(decoded(tmp_path / "f", "utf-16"))


@pytest.mark.parametrize("chunk", [1, 2, 5, 1 << 20])
def test_the_byte_that_is_not_utf8_is_named(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The offset must not depend on where chunks were cut, also right behind a character of several bytes."""
    monkeypatch.setattr(reading, "CHUNK_BYTES", chunk)
    (tmp_path / "f").write_bytes("äöü ".encode() + "é".encode("latin-1") + b" more")
    with pytest.raises(UserError, match=r"is not UTF-8: byte 7 \(0xe9\).*\n.*data\.encoding.*latin-1"):
        list(decoded(tmp_path / "f", "utf-8"))


def test_a_character_that_is_cut_off_at_the_end_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"ab" + "🙂".encode()[:3])
    with pytest.raises(UserError, match="byte 2 "):
        list(decoded(tmp_path / "f", "utf-8"))


def test_utf16_is_recognized_and_read_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes("Grüße\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"byte 0 \(0xff\)(.|\n)*utf-16"):
        list(decoded(tmp_path / "f", "utf-8"))
    assert "".join(decoded(tmp_path / "f", "utf-16")) == "Grüße\n"


def test_an_unknown_encoding_is_refused() -> None:
    check_encoding("cp1252")
    for wrong in ("utf9", "", "hex"):
        with pytest.raises(UserError, match=r"data\.encoding="):
            check_encoding(wrong)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
def test_a_compressed_file_that_is_cut_off_is_named(kind: str, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "f", ODD.encode() * 50)
    whole = (tmp_path / "f").read_bytes()
    (tmp_path / "f").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match=r"data\.path=.*damaged or cut off"):
        list(decoded(tmp_path / "f", "utf-8"))


def test_an_archive_of_several_files_is_refused_not_half_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("a", "a")
        archive.writestr("b", "b")
    with pytest.raises(UserError, match="holds 2 files"), open_plain(tmp_path / "f.zip"):
        pass


def test_a_text_that_begins_like_a_magic_number_stays_a_text(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("BZh is not an archive\n")
    assert not is_compressed(tmp_path / "f")
