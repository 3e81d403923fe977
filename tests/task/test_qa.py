"""Guards the choice between two forms of one task: what is declared before data is read, and settings of the other form."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads import compatibility
from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.run.compose import compose
from manyheads.signature import parameters, plain_defaults
from manyheads.task.base import Task
from manyheads.task.qa import FORMS, qa
from manyheads.task.span_answers import SpanAnswers
from manyheads.task.written_answers import WrittenAnswers
from manyheads.testing import Rows, byte_tokenizer

ROW = {"context": "ab", "question": "q?", "answers": {"text": ["a"], "answer_start": [0]}}


def task(reads: str, **settings: Any) -> Task:
    source = Rows({split: [ROW] for split in ("train", "validation", "test")})
    source.ask(vars(qa)["fields"])
    return qa(source=source, tokenizer=byte_tokenizer(), seed=1, kind="causal", reads=reads, **settings)


def test_the_head_decides_the_form() -> None:
    assert isinstance(task("spans"), SpanAnswers)
    assert isinstance(task("labels"), WrittenAnswers)


def test_settings_arrive() -> None:
    made = task("spans", max_tokens=17, stride=5, batch_size=3)
    assert isinstance(made, SpanAnswers)
    assert (made.max_tokens, made.stride, made.batch_size, made.eval_batch_size) == (17, 5, 3, 3)
    written = task("labels", template="{context}{question}", num_beams=3)
    assert isinstance(written, WrittenAnswers)
    assert (written.template, written.search["num_beams"]) == ("{context}{question}", 3)


def test_both_forms_have_the_settings_and_the_defaults_of_the_task() -> None:
    """The signature is the schema: one that lacks a setting of a form, or has another default, would hide it."""
    named = {name for form in FORMS.values() for name in parameters(form)}
    assert named | {"reads", "kind"} == set(parameters(qa))
    for form in FORMS.values():
        assert plain_defaults(form).items() <= plain_defaults(qa).items()


def test_what_is_declared_is_all_that_a_form_can_be() -> None:
    declared = vars(qa)
    assert declared["forms"] == tuple(FORMS.values())
    for form in FORMS.values():
        assert form.heads <= declared["heads"]
        assert set(form.metrics) <= set(declared["metrics"])
        assert set(form.output_metrics) <= set(declared["output_metrics"])
        assert (form.fields, form.asked) == (declared["fields"], declared["asked"])


@pytest.mark.parametrize(
    ("reads", "setting", "said"),
    [
        ("spans", {"num_beams": 4}, "task.num_beams=4 counts for nothing with a head that reads spans."),
        ("labels", {"stride": 64}, "task.stride=64 counts for nothing with a head that reads labels."),
        ("labels", {"threshold": 0.5}, "task.threshold=0.5 counts for nothing with a head that reads labels."),
    ],
)
def test_a_setting_of_the_other_form(reads: str, setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        task(reads, **setting)
    assert str(caught.value) == f"{said} Leave it out, or set head to the other one of span and next_token."


@pytest.mark.parametrize(
    "words",
    [
        ["head=span", "model=encoder"],
        ["head=span", "model=tiny"],
        ["head=next_token", "model=tiny"],
        ["head=next_token", "model=encoder_decoder"],
        ["head=span", "model=encoder", "callbacks.monitor=val/has_ans_f1"],
    ],
)
def test_what_goes_together(words: list[str]) -> None:
    compatibility.check(*compose("train", ["task=qa", *words], CONF_DIR))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["head=label", "model=encoder"], "head=label does not fit task=qa. Set head=span, or task=classification."),
        (["head=span", "model=encoder_decoder"], "model=encoder_decoder is encoder-decoder, and head=span needs"),
        (["head=next_token", "model=encoder"], "model=encoder is bidirectional, and head=next_token needs"),
        (["head=span", "model=encoder", "callbacks.monitor=val/em"], "callbacks.monitor=val/em is not measured"),
    ],
)
def test_what_does_not(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        compatibility.check(*compose("train", ["task=qa", *words], CONF_DIR))
    assert str(caught.value).startswith(said)
