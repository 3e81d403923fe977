"""Summaries that are copied, through the front door: train, score again, resume, answer new rows.

Guards outputs that are no sentence of their document, and scores that depend on the batches.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXTS = ["Dogs bark. Cats sleep a lot. It rains.", "We stay in. We play.", "One. Two. Three. Four.", "Alone."]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["encoder_decoder", "tiny"])
def test_each_summary_is_a_sentence_of_its_document(model: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    rows = [{"document": text, "summary": text.split(".")[0]} for text in TEXTS]
    (tmp_path / "rows").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "rows" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    done = cli(
        "train", "task=summarization", "task.extractive=true", f"model={model}", "model.dim=16", "model.num_layers=1",
        "model.num_heads=2", "data=json", "data.path=rows", "tokenizer=byte", "task.batch_size=4", "logger=csv",
        "trainer.max_steps=2", "trainer.val_every_n_steps=1", "callbacks.monitor=val/rouge_1",
    )  # fmt: skip
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (done.folder / "predictions" / "test.jsonl").read_text().splitlines()]
    assert [line["input"] for line in lines] == TEXTS
    assert all(line["output"] in [f"{part}." for part in line["input"].rstrip(".").split(". ")] for line in lines)
    scored = cli("eval", f"run={done.folder}", "task.eval_batch_size=3", "to=figures.json")
    assert scored.code == 0, scored.err
    assert json.loads(Path("figures.json").read_text())["test"] == pytest.approx(done.results["test"], rel=1e-5)
    resumed = cli("train", f"resume={done.folder}", "trainer.max_steps=3")
    assert resumed.code == 0, resumed.err
    asked = cli("predict", f"run={done.folder}", f'input.document="{TEXTS[0]}"')
    assert asked.code == 0, asked.err
    assert json.loads(asked.out)["output"] in ["Dogs bark.", "Cats sleep a lot.", "It rains."]
