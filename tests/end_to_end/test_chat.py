"""Guards a chat from rows to a talk: one path for the scores, a resume to the bit, an export whose template is ours."""

from __future__ import annotations

import io
import json
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import manyheads
from manyheads.tokenizer.chat_template import ChatTemplate

WORDS = ["yes", "no", "perhaps", "naïve", "thanks", "hello", "of course"]


def dialogues(seed: int, count: int) -> list[list[dict[str, str]]]:
    draw = random.Random(seed)
    found = []
    for number in range(count):
        turns = [{"role": "system", "content": "be kind"}] if number % 3 == 0 else []
        for _ in range(draw.randint(1, 3)):
            turns += [{"role": role, "content": " ".join(draw.choices(WORDS, k=3))} for role in ("user", "assistant")]
        found.append(turns)
    return found


SPLITS = {"train": dialogues(1, 40), "validation": dialogues(2, 5), "test": dialogues(3, 6)}


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words of a command line that trains a very small chat."""
    folder = tmp_path_factory.mktemp("talks")
    for split, rows in SPLITS.items():
        lines = "".join(json.dumps({"messages": row}) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return [
        "task=chat", "data=json", f"data.path={folder}", "tokenizer=byte", "model.dim=16", "model.num_layers=1",
        "model.num_heads=2", "task.batch_size=4", "trainer.max_steps=6", "trainer.val_every_n_steps=3", "logger=csv",
        "++callbacks.sample_tokens=8", "++optim.warmup_steps=0", "++optim.schedule=constant",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_chat_is_trained_scored_exported_and_talked_with(
    cli: Callable[..., Any], talks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = cli("train", *talks)
    assert done.code == 0, done.err
    assert "assistant: " in done.out
    test = done.results["test"]
    assert set(test) == {"loss", "perplexity", "bits_per_byte", "accuracy"}
    lines = [json.loads(line) for line in (done.folder / "predictions" / "test.jsonl").read_text().splitlines()]
    replies = [[turn["content"] for turn in row if turn["role"] == "assistant"] for row in SPLITS["test"]]
    assert [line["target"] for line in lines] == replies
    assert [len(line["losses"]) for line in lines] == [*map(len, replies)]
    assert [sum(line["losses"]) for line in lines] == pytest.approx([line["loss"] for line in lines], rel=1e-9)
    num_bytes = sum(len(reply.encode()) for row in replies for reply in row)
    loss = sum(line["loss"] for line in lines)
    assert test["bits_per_byte"] == pytest.approx(loss / math.log(2) / num_bytes, rel=1e-6)
    # of bytes, each reply has one label more than it has bytes
    assert test["loss"] == pytest.approx(loss / (num_bytes + sum(map(len, replies))), rel=1e-6)

    evaluated = cli("eval", f"run={done.folder}", "to=scores.json", "task.batch_size=3")
    assert evaluated.code == 0, evaluated.err
    assert json.loads(Path("scores.json").read_text())["test"] == pytest.approx(test, rel=1e-6)

    lm = manyheads.load(done.folder, device="cpu")
    messages = SPLITS["test"][0][:-1]
    said = lm.chat(messages, temperature=0, max_new_tokens=5)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    talked = cli("chat", f"run={done.folder}", "device=cpu", "max_new_tokens=5", "temperature=0")
    assert talked.code == 0, talked.err
    assert talked.out == lm.chat([{"role": "user", "content": "hello"}], temperature=0, max_new_tokens=5) + "\n"

    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(done.folder / "export")
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == ChatTemplate(lm.tokenizer)(messages, asks=True).ids
    model = transformers.AutoModelForCausalLM.from_pretrained(done.folder / "export").eval()
    assert set(model.generation_config.eos_token_id) == {ChatTemplate(lm.tokenizer).turn_end, lm.tokenizer.end_id}
    import torch

    found = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=5, pad_token_id=lm.tokenizer.end_id)
    assert theirs.decode(found[0, len(ids) :], skip_special_tokens=True) == said


@pytest.mark.slow
def test_a_resumed_chat_ends_as_one_that_never_stopped(cli: Callable[..., Any], talks: list[str]) -> None:
    whole = cli("train", *talks)
    half = cli("train", *talks, "trainer.max_steps=3")
    assert half.code == 0, half.err
    resumed = cli("train", f"resume={half.folder}", "trainer.max_steps=6")
    assert resumed.code == 0, resumed.err
    results = json.loads((half.folder / "results.json").read_text(encoding="utf-8"))
    assert results["test"] == whole.results["test"]
    assert (half.folder / "predictions/test.jsonl").read_text() == (whole.folder / "predictions/test.jsonl").read_text()


def test_an_encoder_decoder_learns_the_same_replies(cli: Callable[..., Any], talks: list[str]) -> None:
    words = [word for word in talks if not word.startswith("model.")]
    done = cli("train", *words, "model=encoder_decoder", "model.dim=16", "++model.num_layers=1", "++model.num_encoder_layers=1", "++model.num_heads=2")  # fmt: skip
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (done.folder / "predictions" / "test.jsonl").read_text().splitlines()]
    assert [len(line["losses"]) for line in lines] == [len(line["target"]) for line in lines]
    assert [line["id"] for line in lines] == [*range(6)]
    lm = manyheads.load(done.folder, device="cpu")
    assert lm.chat(SPLITS["test"][0][:-1], max_new_tokens=5) == lm.chat(SPLITS["test"][0][:-1], max_new_tokens=5)


def test_rows_that_are_no_dialogues_end_before_training(
    cli: Callable[..., Any], talks: list[str], tmp_path: Path
) -> None:
    rows = [*SPLITS["train"][:2], [{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]]
    for split in SPLITS:
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    done = cli("train", *talks, f"data.path={tmp_path}")
    assert (done.code, done.folders) == (1, [])
    assert done.err.endswith(
        "row 2 of train: messages[1].role=bot is none of system, user, assistant. Mend the row, or leave it out.\n"
    )
