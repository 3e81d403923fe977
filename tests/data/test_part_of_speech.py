"""Guards: the filter the wrong way round, words glued together, and an absence that is not said with its remedy."""

import importlib.util
from pathlib import Path

import pytest

from manyheads.data.part_of_speech import parts_of_speech
from manyheads.errors import UserError

needs_spacy = pytest.mark.skipif(importlib.util.find_spec("spacy") is None, reason="needs manyheads[spacy]")


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    """A pipeline that knows three words, saved as one that was trained is."""
    import spacy

    made = spacy.blank("en")
    ruler = made.add_pipe("attribute_ruler")
    for word, tag in (("the", "DET"), ("cat", "NOUN"), ("sat", "VERB"), (",", "PUNCT")):
        ruler.add([[{"LOWER": word}]], {"POS": tag})  # type: ignore[attr-defined]
    made.to_disk(tmp_path / "tagger")
    return str(tmp_path / "tagger")


@needs_spacy
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_words_stay_or_go_by_their_tag(pipeline: str) -> None:
    texts = ["The cat sat\n\nthe cat", ""]
    assert parts_of_speech(["DET"], keep=False, model=pipeline).change(texts) == ["cat sat\n\ncat", ""]
    assert parts_of_speech(["PUNCT"], keep=False, model=pipeline).change(["the cat, sat,"]) == ["the cat sat"]
    kept = parts_of_speech(["NOUN", "VERB"], keep=True, model=pipeline)
    assert kept.change(texts) == ["cat sat\n\ncat", ""]
    assert kept.said == f"only NOUN, VERB ({pipeline})"
    assert kept.key != parts_of_speech(["NOUN", "VERB"], keep=False, model=pipeline).key


@needs_spacy
def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"data\.pos_model=none_such is neither(.|\n)*python -m spacy download"):
        parts_of_speech(["DET"], keep=False, model="none_such")


def test_without_spacy_the_pip_line_and_the_model_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'manyheads\[spacy\]', then python -m spacy download en_x"):
        parts_of_speech(["DET"], keep=False, model="en_x")
    with pytest.raises(UserError, match=r"data\.keep_pos=NOUNS is not one of .*Did you mean 'NOUN'"):
        parts_of_speech(["NOUNS"], keep=True, model="en_x")
