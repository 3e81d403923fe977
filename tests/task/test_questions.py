"""Guards baselines of question answering: rules that see another question than the network, or scores that none of them has."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads.task.questions import Questions
from manyheads.task.span_answers import SpanAnswers
from manyheads.task.written_answers import WrittenAnswers
from manyheads.testing import Rows, byte_tokenizer

FORMS = [(SpanAnswers, {"kind": "bidirectional"}), (WrittenAnswers, {"kind": "causal"})]


def row(context: str, question: str, answer: str | None) -> dict[str, Any]:
    texts = [] if answer is None else [answer]
    return {"context": context, "question": question, "answers": {"text": texts, "answer_start": [0 for _ in texts]}}


TRAIN = [row("two cats sleep. It rains.", "who sleeps?", "two cats"), row("four dogs bark", "who barks?", "four dogs")]
TEST = [row("It rains. Six cats sleep.", "how many cats?", "six cats"), row("mice", "what is there?", "mice")]


def task(form: type[Questions], settings: dict[str, Any], test: list[dict[str, Any]]) -> Questions:
    source = Rows({"train": TRAIN, "validation": TRAIN, "test": test})
    source.ask(form.fields)
    return form(source=source, tokenizer=byte_tokenizer(), seed=1, **settings)


@pytest.mark.parametrize(("form", "settings"), FORMS)
def test_baselines_by_hand(form: type[Questions], settings: dict[str, Any]) -> None:
    """The fixed span is words 0 and 1: "It rains." and "mice". The best sentence is "Six cats sleep.", F1 4/5. The whole
    context of the first shares 2 of its 5 words with an answer of 2: F1 4/7."""
    found = task(form, settings, TEST).baselines("test")
    assert {rule: list(scores) for rule, scores in found.items()} == {
        rule: ["exact_match", "f1"] for rule in ("fixed_span", "whole_context", "best_sentence")
    }
    assert found["fixed_span"] == {"exact_match": 50.0, "f1": 50.0}
    assert found["whole_context"] == {"exact_match": 50.0, "f1": pytest.approx(50 * (4 / 7 + 1))}
    assert found["best_sentence"] == {"exact_match": 50.0, "f1": pytest.approx(50 * (4 / 5 + 1))}


@pytest.mark.parametrize(("form", "settings"), FORMS)
def test_baselines_where_questions_may_have_no_answer(form: type[Questions], settings: dict[str, Any]) -> None:
    """No answer is right in one row of three, and no rule has a threshold."""
    found = task(form, settings, [*TEST, row("mice", "where?", None)]).baselines("test")
    assert found["no_answer"]["exact"] == pytest.approx(100 / 3)
    assert (found["no_answer"]["no_ans_f1"], found["no_answer"]["has_ans_f1"]) == (100.0, 0.0)
    assert found["whole_context"]["exact"] == pytest.approx(100 / 3)
    assert found["whole_context"]["no_ans_exact"] == 0.0
    assert not any("no_answer_threshold" in scores for scores in found.values())


def test_both_forms_show_what_is_asked_in_one_way() -> None:
    asked = [{"question": "how many cats?", "context": "It rains. Six cats sleep."}]
    for form, settings in FORMS:
        made = task(form, settings, TEST[:1])
        assert made.inputs(made.source.rows("test")[:]) == asked
