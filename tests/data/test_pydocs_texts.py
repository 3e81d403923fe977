"""Guards: a paragraph that is in two texts, a heading left without its text, modules or topics lost."""

from pathlib import Path

from manyheads.data.pydocs_texts import whole_texts, without_repeats


def test_repeats_go_and_headings_without_text_with_them() -> None:
    texts = {
        "b": [("b", "One two.\n\nThree."), ("b.f()", "One\n  two."), ("b.g()", "New.")],
        "a": [("", "Three.\n\nFour.")],
        "c": [("c", "Four.")],
    }
    assert without_repeats(texts) == {"a": "Three.\n\nFour.\n", "b": "b\n\nOne two.\n\nb.g()\n\nNew.\n"}


def test_modules_and_topics_are_texts(tmp_path: Path) -> None:
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text("topics = {'for': 'The for statement.'}\n")
    (tmp_path / "m.py").write_text('"""About m."""\ndef f(a=1):\n    "About f."\n')
    found = whole_texts(tmp_path, {"m": tmp_path / "m.py"})
    assert found == {"m": "m\n\nAbout m.\n\nf(a=1)\n\nAbout f.\n", "topic:for": "The for statement.\n"}
