"""A task that has a form for each head: which one it is, and what it says of itself before that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manyheads.errors import UserError, written
from manyheads.signature import parameters
from manyheads.task.base import Task


def form_of(
    task: Callable[..., Task], forms: Mapping[str, type[Task]], settings: Mapping[str, Any], heads: Sequence[str]
) -> Task:
    """The form that reads what the head does, with those of the task's settings that it has.

    Args:
        task: the function whose settings these are.
        forms: by what the head reads of a batch.
        settings: all of the task's, `reads` among them.
        heads: the choices of head, as the user knows them.

    Raises:
        UserError: for a setting of another form that is changed, since it would count for nothing.
    """
    form = forms[settings["reads"]]
    own = parameters(form)
    for name, setting in parameters(task).items():
        if name not in own and setting.default is not setting.empty and settings[name] != setting.default:
            raise UserError(
                f"task.{name}={written(settings[name])} counts for nothing with a head that reads {settings['reads']}. Leave it "
                f"out, or set head to the other one of {' and '.join(heads)}."
            )
    return form(**{name: settings[name] for name in own})


def declare(task: Callable[..., Task], forms: Mapping[str, type[Task]], base: type[Task], monitor: str) -> None:
    """Gives the function what a task says of itself before data is read: all that either form may be.

    Args:
        base: the form, or what the forms have in common, whose fields and output metrics are the task's.
        monitor: which score a run follows, of either.
    """
    metrics = [metric for form in forms.values() for metric in form.metrics]
    vars(task).update(
        by_reads=dict(forms),
        forms=tuple(forms.values()),
        heads=frozenset().union(*(form.heads for form in forms.values())),
        fields=base.fields,
        asked=base.asked,
        metrics=tuple(dict.fromkeys(metrics)),
        output_metrics=base.output_metrics,
        monitor=monitor,
    )
