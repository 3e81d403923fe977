"""Guards: an export that other tools cannot open, or a model card with another run's numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from manyheads.batch import Batch
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.run.export import export
from manyheads.run.folder import RunFolder
from manyheads.run.results import Results
from manyheads.testing import byte_tokenizer

SCORES = {"loss": 1.23456, "perplexity": 3.43687, "bits_per_byte": 1.78109}
RESULTS: Results = {
    "schema": 1,
    "val": SCORES,
    "test": {name: 2 * value for name, value in SCORES.items()},
    "perf": {},
    "run": {"name": "my run", "task": "generation", "data": "pydocs", "model": "tiny", "parameters": 12345, "tokens_seen": 678},
}  # fmt: skip


def model(**settings: Any) -> tuple[Decoder, NextToken]:
    torch.manual_seed(0)
    vocabulary = byte_tokenizer().vocab_size
    network = Decoder(vocab_size=vocabulary, dim=16, num_layers=1, num_heads=2, **settings)
    return network.eval(), NextToken(dim=16, vocab_size=vocabulary, weight=network.output_weight)


def exported(folder: Path, network: Decoder, head: NextToken) -> Path:
    export(RunFolder(folder), network, head, byte_tokenizer(), RESULTS)
    return folder / "export"


def test_transformers_opens_the_folder_and_computes_the_same(tmp_path: Path) -> None:
    """By the names of the files alone, as a stranger would; the tokenizer's ids are ours too."""
    transformers = pytest.importorskip("transformers")
    network, head = model()
    place = str(exported(tmp_path, network, head))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(place).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    text = "naïve ☃ <|endoftext|>"
    ids = byte_tokenizer().encode(text)
    assert tokenizer.decode(ids) == text
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id) == (256, 256)
    batch = Batch(input_ids=torch.tensor([[256, *ids]]))
    with torch.no_grad():
        torch.testing.assert_close(theirs(batch["input_ids"]).logits, head.logits(network(batch)), rtol=1e-5, atol=1e-5)


def test_the_card_has_the_runs_numbers_in_their_places(tmp_path: Path) -> None:
    card = (exported(tmp_path, *model()) / "README.md").read_text()
    assert "# my run\n" in card
    assert (
        "| split | loss | perplexity | bits per byte |\n| --- | --- | --- | --- |\n| validation | 1.2346 | 3.4369 | 1.7811 |\n"
        in card
    )
    assert "task generation, data pydocs, network tiny, 12,345 parameters,\n678 tokens seen." in card
    assert "library_name: transformers" in card


def test_a_shape_of_our_own_says_that_nothing_else_reads_it(tmp_path: Path) -> None:
    place = exported(tmp_path, *model(norm_position="post"))
    assert json.loads((place / "config.json").read_text())["model_type"] == "manyheads"
    assert "library_name: manyheads" in (place / "README.md").read_text()
    assert "load it with manyheads" in (place / "README.md").read_text()


def test_a_second_export_replaces_the_first_whole(tmp_path: Path) -> None:
    """A file of the first must not stay beside those of the second, nor what an interrupted one left."""
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "old.txt").write_text("x")
    (tmp_path / "export.tmp").mkdir()
    (tmp_path / "export.tmp" / "half").write_text("x")
    names = sorted(path.name for path in exported(tmp_path, *model()).iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_failure_leaves_the_old_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = exported(tmp_path, *model())
    before = (place / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("manyheads.run.export.save_file", full)
    network, head = model()
    nn.init.zeros_(network.embedding.weight)
    with pytest.raises(OSError, match="No space left"):
        exported(tmp_path, network, head)
    assert (place / "model.safetensors").read_bytes() == before


def test_the_card_has_the_baselines_of_the_test_split(tmp_path: Path) -> None:
    results: Results = {**RESULTS, "baselines": {"uni_gram": {"loss": 6.5, "bits_per_byte": 3.25}}}
    network, head = model()
    export(RunFolder(tmp_path), network, head, byte_tokenizer(), results)
    assert "| test, uni gram | 6.5000 | - | 3.2500 |\n" in (tmp_path / "export" / "README.md").read_text()
