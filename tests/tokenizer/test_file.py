"""Guards: a foreign tokenizer that adds special tokens, cuts texts, or ends texts with the wrong token."""

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from manyheads.errors import UserError
from manyheads.testing import Rows
from manyheads.tokenizer.byte import byte
from manyheads.tokenizer.file import from_file

SOURCE = Rows({"train": ["a"]})


def words(*special: str) -> tokenizers.Tokenizer:
    vocab = {word: index for index, word in enumerate(["[UNK]", "cat", "dog", *special])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(list(special))
    return backend


def test_special_tokens_truncation_and_padding_are_off(tmp_path: Path) -> None:
    backend = words("[CLS]", "[SEP]")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 3), ("[SEP]", 4)]
    )
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    backend.save(str(tmp_path / "mine.json"))
    tokenizer = from_file(source=SOURCE, path=str(tmp_path / "mine.json"))
    assert tokenizer.encode("cat dog cat bird") == [1, 2, 1, 0]
    assert tokenizer.encode_batch(["cat dog cat", "dog"]) == [[1, 2, 1], [2]]
    assert (tokenizer.name, tokenizer.end, tokenizer.end_id, tokenizer.lossless) == ("mine", "[SEP]", 4, False)
    assert 4 not in tokenizer.encode("cat [SEP] dog")


@pytest.mark.parametrize("eos", ["dog", {"content": "dog"}])
def test_the_config_beside_it_says_the_end(eos: object, tmp_path: Path) -> None:
    words("</s>").save(str(tmp_path / "tokenizer.json"))
    assert from_file(source=SOURCE, path=str(tmp_path)).end == "</s>"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos}))
    assert from_file(source=SOURCE, path=str(tmp_path)).end == "dog"
    assert from_file(source=SOURCE, path=str(tmp_path)).name == tmp_path.name


def test_a_lossless_one_is_recognized(tmp_path: Path) -> None:
    byte(source=SOURCE).backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = from_file(source=SOURCE, path=str(tmp_path))
    assert tokenizer.lossless
    assert tokenizer.fingerprint == byte(source=SOURCE).fingerprint


def test_one_that_was_kept_with_a_run_comes_back(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text(byte(source=SOURCE).to_json())
    assert from_file(source=SOURCE, path=str(tmp_path / "kept.json")).to_json() == byte(source=SOURCE).to_json()


def test_faults(tmp_path: Path) -> None:
    words().save(str(tmp_path / "noend.json"))
    (tmp_path / "bad.json").write_text('{"a": 1}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "latin.json").write_bytes(b"\xe9")
    (tmp_path / "empty").mkdir()
    for path, message in {
        "noend.json": "has no token for the end of a text",
        "bad.json": "is no file of the tokenizers library",
        "list.json": "is no file of the tokenizers library",
        "latin.json": "cannot be read",
        "noent.json": r"Did you mean 'noend.json'",
        "empty": "no tokenizer.json in",
    }.items():
        with pytest.raises(UserError, match=rf"tokenizer\.path=.*{message}"):
            from_file(source=SOURCE, path=str(tmp_path / path))
    with pytest.raises(UserError, match=r"tokenizer\.path is not set"):
        from_file(source=SOURCE)
