"""Guards a setting that counts for nothing under a head and is taken in silence, and a task that forgets what a form may be."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads.errors import UserError
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.loss import Loss
from manyheads.task.forms import declare, form_of


class Base:
    fields, asked, output_metrics, monitor = "fields", "asked", ("one",), "val/loss"


class Short(Base):
    heads, metrics = frozenset({"Span"}), (Loss,)

    def __init__(self, *, size: int, window: int) -> None:
        self.settings = (size, window)


class Long(Base):
    heads, metrics = frozenset({"NextToken"}), (Loss, Accuracy)

    def __init__(self, *, size: int, prompt: str) -> None:
        self.settings = (size, prompt)


FORMS: Any = {"spans": Short, "labels": Long}


def task(*, reads: str, size: int = 1, window: int = 3, prompt: str = "a") -> Any:
    return form_of(task, FORMS, locals(), ("span", "next_token"))


declare(task, FORMS, Base, "val/loss")  # type: ignore[arg-type]


def test_the_form_that_the_head_reads_gets_its_own_settings() -> None:
    assert task(reads="spans", size=5).settings == (5, 3)
    assert task(reads="labels", prompt="b").settings == (1, "b")


def test_a_setting_of_the_other_form_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        task(reads="spans", prompt="b")
    assert str(caught.value) == (
        "task.prompt=b counts for nothing with a head that reads spans. Leave it out, or set head to the other one of span and "
        "next_token."
    )


def test_it_says_what_either_form_may_be() -> None:
    said: Any = task
    assert said.heads == {"Span", "NextToken"}
    assert said.metrics == (Loss, Accuracy)
    assert (said.fields, said.asked, said.output_metrics, said.monitor) == ("fields", "asked", ("one",), "val/loss")
    assert (said.by_reads, said.forms) == (FORMS, (Short, Long))
