"""Guards rows that are read as SQuAD's and are not, and scores of one version where the other is meant."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads.errors import UserError
from manyheads.task import answers
from manyheads.task.answers import SCORES, SQUAD1, SQUAD2, Gold
from manyheads.testing import Rows

ROW: dict[str, Any] = {
    "context": "The cat sat.",
    "question": "Who sat?",
    "answers": {"text": ["The cat", "cat"], "answer_start": [0, 4]},
}
OPEN = {**ROW, "question": "Who ran?", "answers": {"text": [], "answer_start": []}}


def columns(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def source(*rows: dict[str, Any]) -> Rows:
    found = Rows({"train": rows, "validation": [ROW], "test": [ROW]})
    found.ask(answers.FIELDS)
    return found


def error_of(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        answers.golds_of(columns({**ROW, **changes}), unanswerable=False)
    return str(caught.value)


def test_gold_answers_of_rows() -> None:
    empty = {**ROW, "answers": {"text": [""], "answer_start": [0]}}
    found = answers.golds_of(columns(ROW, OPEN, empty), unanswerable=True)
    assert found == [[Gold("The cat", 0), Gold("cat", 4)], [], []]


@pytest.mark.parametrize(
    "value", ["The cat", None, ["The cat"], {"text": ["The cat"]}, [{"text": "x", "answer_start": 0}]]
)
def test_an_answer_that_is_no_struct(value: Any) -> None:
    said = error_of(answers=value)
    assert said.startswith('data: the answers of "Who sat?" are "')
    assert "Set data.columns.answers to a column of {text: [...], answer_start: [...]}, as in SQuAD." in said


@pytest.mark.parametrize(
    ("text", "start"),
    [("The cat", 0), (["The cat"], [0, 4]), (["The cat"], 0), ([3], [0]), (["The cat"], ["0"]), (["a"], [None])],
)
def test_a_struct_of_other_kinds(text: Any, start: Any) -> None:
    said = error_of(answers={"text": text, "answer_start": start})
    assert "text has to be a list of texts, and answer_start a list of as many whole numbers." in said


@pytest.mark.parametrize("start", [-1, 12, 900])
def test_an_offset_out_of_range(start: int) -> None:
    assert error_of(answers={"text": ["cat"], "answer_start": [start]}) == (
        f'data: answer_start={start} of "Who sat?" is outside of its context, which has 12 characters. It counts characters '
        "from 0; mend or leave out the row."
    )


@pytest.mark.parametrize("question", ["", "  ", None])
def test_an_empty_question(question: str | None) -> None:
    assert error_of(question=question) == (
        'data: the question on "The cat sat." is empty. Mend or leave out the row, or set data.columns.question to the '
        "column of the questions."
    )


def test_a_question_without_an_answer_where_each_should_have_one() -> None:
    assert error_of(**OPEN) == (
        'data: "Who ran?" has no answer, and task.unanswerable=false. Leave the row out, or train with '
        "task.unanswerable=true."
    )


def test_long_texts_are_clipped() -> None:
    assert f'"{"w" * 60}..." has no answer' in error_of(**{**OPEN, "question": "w" * 61})


def test_whether_a_question_of_any_split_has_no_answer() -> None:
    assert not answers.has_unanswerable(source(ROW, ROW))
    assert answers.has_unanswerable(source(ROW, OPEN))
    elsewhere = Rows({"train": [ROW], "validation": [ROW], "test": [ROW, OPEN]})
    elsewhere.ask(answers.FIELDS)
    assert answers.has_unanswerable(elsewhere)


def test_train_without_an_answer() -> None:
    answers.check_has_answers(source(OPEN, ROW))
    with pytest.raises(UserError) as caught:
        answers.check_has_answers(source(OPEN, OPEN))
    assert str(caught.value) == (
        "data (rows): no question of train has an answer. Set data.columns.answers to the column of the answers, or data with "
        "some."
    )


def test_scores_are_those_of_the_data() -> None:
    """The names are those of the official scripts; f1, which both have, is one name of all that may be scored."""
    assert [metric.name for metric in SQUAD1] == ["exact_match", "f1"]
    names = ["exact", "f1", "has_ans_exact", "has_ans_f1", "no_ans_exact", "no_ans_f1", "no_answer_threshold"]
    assert [metric.name for metric in SQUAD2] == names
    assert sorted(metric.name for metric in SCORES) == sorted({"exact_match", *names})
    assert answers.metrics_of(False) == SQUAD1
    assert answers.metrics_of(True) == SQUAD2
    scores = {metric.name: metric.score(["cat", "cat"], [["cat"], []]) for metric in answers.scorers_of(True, 0.25)}
    assert scores == {
        "exact": 50.0, "f1": 50.0, "has_ans_exact": 100.0, "has_ans_f1": 100.0, "no_ans_exact": 0.0, "no_ans_f1": 0.0,
        "no_answer_threshold": 0.25,
    }  # fmt: skip


def test_what_is_asked_is_shown_by_field() -> None:
    assert answers.inputs_of(columns({**ROW, "id": "7"})) == [
        {"id": "7", "question": "Who sat?", "context": "The cat sat."}
    ]
