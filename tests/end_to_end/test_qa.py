"""Guards question answering through the front door: both forms from rows to scores, the same on a resume and in any batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


def rows(count: int, seed: int, unanswerable: bool) -> list[dict[str, Any]]:
    """Contexts of which some need several windows; every third question has no answer, if any may have none."""
    found = []
    for number in range(count):
        name = "abcdefgh"[(number + seed) % 8]
        filler = " ".join(["x"] * (number * 7 % 40))
        context = f"{filler} the é{name}é is blue. so is it".strip()
        answer = f"é{name}é"
        asked = bool(unanswerable and number % 3 == 2)
        answers: dict[str, Any] = {"text": [answer], "answer_start": [context.index(answer)]}
        if asked:
            answers = {"text": [], "answer_start": []}
        found.append(
            {
                "id": f"r{number}",
                "context": context,
                "question": "what is red?" if asked else "what is blue?",
                "answers": answers,
            }
        )
    return found


def small_run(folder: Path, unanswerable: bool = True) -> list[str]:
    """The words of a small run on rows that are written into a folder."""
    folder.mkdir()
    for split, count, seed in (("train", 24, 0), ("validation", 7, 3), ("test", 9, 5)):
        lines = [json.dumps(row) for row in rows(count, seed, unanswerable)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [
        "task=qa", "data=json", f"data.path={folder}", "tokenizer=byte", "model.dim=16", "model.num_heads=2",
        "task.batch_size=4", "trainer.max_steps=6", "trainer.val_every_n_steps=3", "trainer.log_every_n_steps=2",
        "logger=csv", "++callbacks.sample_tokens=4", "++optim.warmup_steps=0",
    ]  # fmt: skip


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return small_run(tmp_path / "rows")


SPAN = ["head=span", "model=encoder", "model.num_layers=1", "task.max_tokens=48", "task.stride=16"]
FORMS = {
    "span": SPAN,
    "causal_span": ["head=span", "model=tiny", "model.num_layers=1", "task.max_tokens=48", "task.stride=16"],
    "encoder_decoder": ["head=next_token", "model=encoder_decoder", "model.num_layers=1", "model.num_encoder_layers=1",
                        "++task.max_target_tokens=6"],
    "causal": ["head=next_token", "model=tiny", "model.num_layers=1", "++task.max_target_tokens=6"],
}  # fmt: skip
SCORES = {"exact", "f1", "has_ans_exact", "has_ans_f1", "no_ans_exact", "no_ans_f1", "no_answer_threshold"}


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[] if form == "span" else pytest.mark.slow) for form in FORMS]
)
def test_train_and_eval_have_the_same_scores(form: str, words: list[str], cli: Cli) -> None:
    done = cli("train", *words, *FORMS[form])
    assert done.code == 0, done.err
    results = done.results
    assert set(results["test"]) >= SCORES | {"loss"}
    assert results["directions"].keys() == results["test"].keys()
    lines = [json.loads(line) for line in (done.folder / "predictions" / "test.jsonl").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == list(range(9))
    mean = sum(line["score"]["exact"] for line in lines) / len(lines)
    assert mean == pytest.approx(results["test"]["exact"])
    again = cli("eval", f"run={done.folder}", "to=scores.json", "task.eval_batch_size=3")
    assert again.code == 0, again.err
    scores = json.loads(Path("scores.json").read_text(encoding="utf-8"))
    for split in ("val", "test"):
        assert scores[split] == pytest.approx(results[split], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["span", "encoder_decoder"])
def test_a_resumed_run_ends_as_one_that_never_stopped(form: str, words: list[str], cli: Cli) -> None:
    half = cli("train", *words, *FORMS[form], "trainer.max_steps=3", "++optim.schedule=constant")
    rest = cli("train", f"resume={half.folder}", "trainer.max_steps=6")
    straight = cli("train", *words, *FORMS[form], "++optim.schedule=constant")
    assert (half.code, rest.code, straight.code) == (0, 0, 0), rest.err
    resumed = json.loads((half.folder / "results.json").read_text(encoding="utf-8"))
    assert resumed["val"] == straight.results["val"]
    assert resumed["test"] == straight.results["test"]


def test_the_runs_threshold_holds_where_nothing_is_validated(words: list[str], cli: Cli, tmp_path: Path) -> None:
    """Found on validation, it goes along with the weights: to eval of a test file alone, and to predict."""
    done = cli("train", *words, *SPAN)
    assert done.code == 0, done.err
    found = done.results["val"]["no_answer_threshold"]
    assert found != 0.5
    test = tmp_path / "rows" / "test.jsonl"
    copy = tmp_path / "copy.jsonl"
    copy.write_text(test.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    scored = cli("eval", f"run={done.folder}", f"data.path={{test: {copy}}}", "to=scores.json")
    assert scored.code == 0, scored.err
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert set(scores) == {"test"}
    assert scores["test"] == pytest.approx(done.results["test"], rel=1e-5)
    asked = cli("predict", f"run={done.folder}", f"input={test}")
    lines = (done.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [[json.loads(line)["output"]["text"] for line in found] for found in (asked.out.splitlines(), lines)]
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_a_member_of_a_mixture_keeps_its_threshold(words: list[str], cli: Cli, tmp_path: Path) -> None:
    members = [f"+task@task.members.{name}=qa" for name in ("one", "two")]
    sizes = [f"task.members.{name}.{key}" for name in ("one", "two") for key in ("max_tokens=48", "stride=16")]
    rest = [word for word in words if not word.startswith("task")]
    done = cli("train", "task=mixture", *members, *sizes, *rest, "model=encoder", "model.num_layers=1")
    assert done.code == 0, done.err
    assert done.results["val"]["no_answer_threshold/two"] != 0.5
    test = tmp_path / "rows" / "test.jsonl"
    asked = cli("predict", f"run={done.folder}", "member=two", f"input={test}")
    assert asked.code == 0, asked.err
    lines = (done.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    known = [line["output"]["text"] for line in map(json.loads, lines) if line["member"] == "two"]
    assert [json.loads(line)["output"]["text"] for line in asked.out.splitlines()] == known
    copy = tmp_path / "copy.jsonl"
    copy.write_text(test.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    scored = cli("eval", f"run={done.folder}", f"data.path={{test: {copy}}}", "to=scores.json")
    assert scored.code == 0, scored.err
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["test"]
    assert scores == pytest.approx({name: done.results["test"][name] for name in scores}, rel=1e-5)


def test_rows_with_answers_alone_have_the_scores_of_the_first_version(cli: Cli, tmp_path: Path) -> None:
    words = small_run(tmp_path / "rows", unanswerable=False)
    done = cli("train", *words, *SPAN)
    assert done.code == 0, done.err
    assert set(done.results["test"]) == {"loss", "exact_match", "f1"}
    refused = cli("train", *words, *SPAN, "callbacks.monitor=val/no_ans_f1")
    assert refused.code == 1
    assert (
        "callbacks.monitor=val/no_ans_f1 is not measured; set one of val/loss, val/exact_match, val/f1." in refused.err
    )
    assert refused.folders == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answers": "é"}, "Set data.columns.answers to a column of {text: [...], answer_start: [...]}, as in SQuAD."),
        ({"answers": {"text": ["blue"], "answer_start": [900]}}, "is outside of its context"),
        ({"question": ""}, "Mend or leave out the row, or set data.columns.question"),
        ({"question": "q" * 60}, "task.max_tokens=48: a question of 60 tokens leaves no room for its context."),
        ({"answers": {"text": [], "answer_start": []}}, "no question of train has an answer."),
    ],
)
def test_rows_that_are_none_of_the_task_are_refused_before_training(
    change: dict[str, Any], said: str, words: list[str], cli: Cli, tmp_path: Path
) -> None:
    lines = [json.dumps({**row, **change}) for row in rows(6, 0, unanswerable=False)]
    (tmp_path / "rows" / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    refused = cli("train", *words, *SPAN)
    assert refused.code == 1
    assert said in refused.err
    assert refused.folders == []


def test_a_column_that_is_not_there(words: list[str], cli: Cli) -> None:
    refused = cli("train", *words, *SPAN, "++data.columns={question: asked}")
    assert refused.code == 1
    assert "data.columns.question=asked is no column of" in refused.err
