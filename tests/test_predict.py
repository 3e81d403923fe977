"""Guards: predict that says of the test rows other things than training's predictions, and mistakes told late or in other words."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import manyheads
from manyheads.errors import UserError
from manyheads.predict import HELP

Cli = Callable[..., Any]

TEXTS = ["good news", "bad", "a good day", "no", "so bad a day", "good", "it is bad", "very good"]
TINY = [
    "data=json", "tokenizer=byte", "model.dim=16", "model.num_layers=1", "model.num_heads=2", "task.batch_size=4",
    "trainer.max_steps=3", "trainer.val_every_n_steps=3", "trainer.accelerator=cpu", "logger=csv",
    "++optim.warmup_steps=0",
]  # fmt: skip
COLUMNS = {
    "classification": "data.columns={text: de, label: kind}",
    "translation": "data.columns={source: de, target: en}",
    "masked": "data.columns={text: de}",
}

SCORED = ("classification", "translation")
"""Of which a test row is answered as it was at the end of training; masks are the user's own."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of rows with the columns de, en and kind."""
    folder = tmp_path_factory.mktemp("rows")
    for split, many in (("train", 3), ("validation", 1), ("test", 2)):
        rows = [
            {"de": f"{text} {n}", "en": text, "kind": "up" if "good" in text else "down"}
            for n in range(many)
            for text in TEXTS
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> dict[str, Path]:
    """A run of each task that answers, made once."""
    from manyheads.cli import main

    made = {}
    for task, columns in COLUMNS.items():
        folder = tmp_path_factory.mktemp(task)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MANYHEADS_CACHE", str(session_cache))
            patch.chdir(folder)
            words = [*TINY, f"task={task}", f"data.path={data}", columns]
            assert main(["train", *words, *(["task.max_target_tokens=8"] if task == "translation" else [])]) == 0
        (made[task],) = (folder / "outputs" / "runs").iterdir()
    return made


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("task", SCORED)
def test_the_test_rows_get_the_predictions_of_training(task: str, runs: dict[str, Path], data: Path, cli: Cli) -> None:
    """To the last digit: nothing but the rows comes from somewhere else."""
    done = cli("predict", f"run={runs[task]}", f"input={data}/test.jsonl", "to=answers.jsonl", "device=cpu")
    assert (done.code, done.out) == (0, "16 answers in answers.jsonl\n"), done.err
    made = (runs[task] / "predictions" / "test.jsonl").read_text(encoding="utf-8")
    assert Path("answers.jsonl").read_text(encoding="utf-8") == made


@pytest.mark.parametrize("task", SCORED)
def test_without_targets_outputs_stay(task: str, runs: dict[str, Path], data: Path, cli: Cli) -> None:
    rows = lines((data / "test.jsonl").read_text(encoding="utf-8"))
    Path("r.csv").write_text("n,de\n" + "".join(f"{n},{row['de']}\n" for n, row in enumerate(rows)))
    done = cli("predict", f"run={runs[task]}", "input=r.csv", "task.eval_batch_size=3")
    assert done.code == 0, done.err
    known = lines((runs[task] / "predictions" / "test.jsonl").read_text(encoding="utf-8"))
    found = lines(done.out)
    assert [line["output"] for line in found] == [line["output"] for line in known]
    assert not {"target", "score", "loss"} & set(found[0])


def test_one_row_from_the_command_line_a_pipe_and_python(
    runs: dict[str, Path], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = f"run={runs['classification']}"
    typed = cli("predict", run, 'input.de="good, so good"')
    assert typed.code == 0, typed.err
    (line,) = lines(typed.out)
    assert line["input"] == "good, so good"
    assert set(line["probabilities"]) == {"down", "up"}
    monkeypatch.setattr("sys.stdin", io.StringIO('{"de": "good, so good"}\n'))
    assert cli("predict", run, "input=-").out == typed.out
    assert manyheads.load(runs["classification"], device="cpu").predict([{"de": "good, so good"}]) == [line]


def test_columns_of_other_rows_can_be_named(runs: dict[str, Path], cli: Cli) -> None:
    run = f"run={runs['classification']}"
    done = cli("predict", run, "input.body=good", "data.columns={text: body}")
    assert lines(done.out)[0]["input"] == "good"
    assert cli("predict", run, "input.body=good", "data.columns.text=body").out == done.out


def test_settings_of_the_task_count(runs: dict[str, Path], cli: Cli) -> None:
    done = cli("predict", f"run={runs['translation']}", "input.de=good", "task.num_beams=1", "task.max_target_tokens=2")
    assert len(lines(done.out)[0]["output"].encode()) <= 6


def test_what_was_cut_is_told(runs: dict[str, Path], cli: Cli) -> None:
    """Beside the answers, which may go through a pipe."""
    done = cli("predict", f"run={runs['translation']}", "input.de=good", "task.num_beams=1", "task.max_source_tokens=1")
    assert len(lines(done.out)) == 1
    assert done.err.startswith("note: 1 of 1 sources of the input are longer than task.max_source_tokens=1: their ends")
    done = cli("predict", f"run={runs['translation']}", "input.de=good", "task.num_beams=1")
    assert (done.code, done.err) == (0, "")


def test_a_run_of_generation_scores_texts(tiny_trained: Any, texts: dict[str, list[str]], cli: Cli) -> None:
    """Each as in the predictions of training; which leave out the text that is empty."""
    Path("r.txt").write_text("\n".join([texts["test"][0], "", *texts["test"][1:]]), encoding="utf-8")
    done = cli("predict", f"run={tiny_trained.folder}", "input=r.txt", "device=cpu")
    found = [line for line in lines(done.out) if "loss" in line]
    known = lines((tiny_trained.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8"))
    assert [line["id"] for line in found] == [0, *range(2, len(known) + 1)]
    assert [(line["tokens"], line["bytes"]) for line in found] == [(line["tokens"], line["bytes"]) for line in known]
    assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in known], rel=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "input is not set: set input=FILE"),
        (["input=absent.jsonl"], "input=absent.jsonl: there is no such file"),
        (["input=empty.csv"], "input=empty.csv is empty."),
        (["input.txt=a"], "data.columns.text=de is no column of input. It has: txt."),
        (["input.de=a", "to=no/a.jsonl"], "to=no/a.jsonl: there is no folder no"),
        (["input.de=a", "model.dim=8"], "model: predict takes the weights of run="),
        (["input.de=a", "seed=8"], "seed=8: predict takes the weights of run="),
        (["input.de=a", "task.max_token=8"], "Did you mean"),
        (["input.de=a", "checkpoint=worst"], "checkpoint=worst is not in"),
        (["input.de=a", "device=abacus"], "device=abacus: there is no such device here"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str, runs: dict[str, Path], cli: Cli) -> None:
    Path("empty.csv").touch()
    done = cli("predict", f"run={runs['classification']}", *words)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert len(done.err.splitlines()) <= 2


def test_a_file_stays_whole_when_rows_are_wrong(runs: dict[str, Path], cli: Cli) -> None:
    Path("a.jsonl").write_text("before\n")
    assert cli("predict", f"run={runs['classification']}", "input.txt=a", "to=a.jsonl").code == 1
    assert Path("a.jsonl").read_text() == "before\n"


def test_help(cli: Cli) -> None:
    assert cli("predict", "--help").out == HELP
    assert max(map(len, HELP.splitlines())) <= 120


def test_generate_and_score_name_predict_where_no_text_is_written(runs: dict[str, Path], cli: Cli) -> None:
    said = "Label, the head of this run, writes no text. Ask it with `manyheads predict` or `lm.predict`."
    done = cli("generate", f"run={runs['classification']}", "good")
    assert (done.code, done.out, done.err) == (1, "", f"error: generate: {said}\n")
    lm = manyheads.load(runs["classification"], device="cpu")
    with pytest.raises(UserError) as caught:
        lm.score("a")
    assert str(caught.value) == f"score: {said}"


def test_a_prompt_is_the_source_of_an_encoder_decoder(runs: dict[str, Path], cli: Cli) -> None:
    """What predict finds with one beam, generate writes with temperature 0."""
    lm = manyheads.load(runs["translation"], device="cpu")
    words = ["task.num_beams=1", "task.max_target_tokens=6", "input.de=good"]
    (line,) = lines(cli("predict", f"run={runs['translation']}", *words).out)
    assert lm.generate("good", temperature=0, max_new_tokens=6).strip() == line["output"]
    assert lm.generate("good", num_beams=2, max_new_tokens=6) == lm.generate(["good"], num_beams=2, max_new_tokens=6)[0]
    done = cli("generate", f"run={runs['translation']}", "temperature=0", "max_new_tokens=6", "good")
    assert done.out.startswith("good\n")
    with pytest.raises(UserError, match="score: the network reads a source besides a text"):
        lm.score("a")


def test_masks_are_filled(runs: dict[str, Path], cli: Cli) -> None:
    """As many candidates of each mask as are asked for, the likeliest first, and the best of them in the text."""
    done = cli("predict", f"run={runs['masked']}", 'input.de="go<|mask|>d n<|mask|>"', "task.top_k=3")
    assert done.code == 0, done.err
    (line,) = lines(done.out)
    assert (line["id"], line["input"], len(line["masks"])) == (0, "go<|mask|>d n<|mask|>", 2)
    for mask in line["masks"]:
        chances = [found["probability"] for found in mask]
        assert (len(mask), chances) == (3, sorted(chances, reverse=True))
    assert line["output"] == f"go{line['masks'][0][0]['token']}d n{line['masks'][1][0]['token']}"
    done = cli("predict", f"run={runs['masked']}", "input.de=good")
    assert (done.code, done.err) == (
        1, "error: row 0 has no mask to be filled. Write <|mask|> into text where a token is to be told.\n",
    )  # fmt: skip
