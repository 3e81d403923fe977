"""Questions and their gold answers in SQuAD's schema, and how answers to them are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from manyheads.data.fields import Fields
from manyheads.data.source import SPLITS, Source
from manyheads.data.split import BATCH_ROWS, batches_of
from manyheads.errors import UserError
from manyheads.metric.output import OutputMetric
from manyheads.metric.squad import AnswerF1, ExactMatch
from manyheads.metric.squad2 import (
    F1,
    AnswerableExact,
    AnswerableF1,
    Exact,
    UnanswerableExact,
    UnanswerableF1,
    UsedThreshold,
)

FIELDS = Fields(("context", "question"), ("answers",), ("id",))
ASKED = Fields(("context", "question"), (), ("answers", "id"))

SQUAD1: tuple[type[OutputMetric], ...] = (ExactMatch, AnswerF1)
"""Scores where every question has an answer."""

SQUAD2 = (Exact, F1, AnswerableExact, AnswerableF1, UnanswerableExact, UnanswerableF1, UsedThreshold)
"""Scores where questions may have none; each takes the threshold that an answer counts as none above."""

SCORES: tuple[type[OutputMetric], ...] = tuple({metric.name: metric for metric in (*SQUAD1, *SQUAD2)}.values())
"""All that a task may score, each name once: `f1` is that of SQuAD v1.1 or v2.0, as the data is."""


class Gold(NamedTuple):
    """An answer that counts as right."""

    text: str
    start: int  # the character of the context where it is said to start


def metrics_of(unanswerable: bool) -> tuple[type[OutputMetric], ...]:
    """The scores of data whose questions may have no answer, or of data where each has one."""
    return SQUAD2 if unanswerable else SQUAD1


def scorers_of(unanswerable: bool, threshold: float) -> list[OutputMetric]:
    """Those scores, ready to be computed."""
    return [metric(threshold) for metric in SQUAD2] if unanswerable else [metric() for metric in SQUAD1]


def questions_of(rows: Mapping[str, list[Any]]) -> list[str]:
    """The question of each row. Raises UserError for one without a word."""
    found = [text or "" for text in rows["question"]]
    for question, context in zip(found, rows["context"], strict=True):
        if not question.strip():
            raise UserError(
                f"data: the question on {_clipped(context or '')} is empty. Mend or leave out the row, or set "
                "data.columns.question to the column of the questions."
            )
    return found


def contexts_of(rows: Mapping[str, list[Any]]) -> list[str]:
    """The context of each row; a missing one is the empty text."""
    return [text or "" for text in rows["context"]]


def inputs_of(rows: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """What is asked in each row, for people."""
    names = [name for name in ("id", "question", "context") if name in rows]
    return [dict(zip(names, values, strict=True)) for values in zip(*(rows[name] for name in names), strict=True)]


def golds_of(rows: Mapping[str, list[Any]], unanswerable: bool) -> list[list[Gold]]:
    """The gold answers of each row, without empty ones. Raises UserError for what is not in SQuAD's schema."""
    found = []
    for question, context, value in zip(questions_of(rows), contexts_of(rows), rows["answers"], strict=True):
        golds = _golds(question, context, value)
        if not golds and not unanswerable:
            raise UserError(
                f"data: {_clipped(question)} has no answer, and task.unanswerable=false. Leave the row out, or train with "
                "task.unanswerable=true."
            )
        found.append(golds)
    return found


def has_unanswerable(source: Source) -> bool:
    """Whether a question of any split has no answer. Raises UserError for what is not in SQuAD's schema."""
    splits = SPLITS if "train" in source.given else source.given
    return not all(all(batch) for split in splits for batch in _batches(source, split))


def check_has_answers(source: Source) -> None:
    """Raises UserError when no question of train has an answer."""
    if not any(any(batch) for batch in _batches(source, "train")):
        raise UserError(
            f"data ({source.name}): no question of train has an answer. Set data.columns.answers to the column of the "
            "answers, or data with some."
        )


def _batches(source: Source, split: str) -> Any:
    columns = ["context", "question", "answers"]
    if "answers" in source.rows(split).column_names:
        for values in batches_of(lambda: source.rows(split), columns, BATCH_ROWS):
            yield golds_of(dict(zip(columns, values, strict=True)), unanswerable=True)


def _golds(question: str, context: str, value: Any) -> list[Gold]:
    if not isinstance(value, Mapping) or not {"text", "answer_start"} <= value.keys():
        raise UserError(
            f"data: the answers of {_clipped(question)} are {_clipped(str(value))}. Set data.columns.answers to a column of "
            "{text: [...], answer_start: [...]}, as in SQuAD."
        )
    texts, starts = value["text"], value["answer_start"]
    if not (_all(texts, str) and _all(starts, int) and len(texts) == len(starts)):
        raise UserError(
            f"data: the answers of {_clipped(question)} are {_clipped(str(value))}: text has to be a list of texts, and "
            "answer_start a list of as many whole numbers."
        )
    golds = [Gold(text, start) for text, start in zip(texts, starts, strict=True) if text]
    for gold in golds:
        if not 0 <= gold.start < max(len(context), 1):
            raise UserError(
                f"data: answer_start={gold.start} of {_clipped(question)} is outside of its context, which has "
                f"{len(context)} characters. It counts characters from 0; mend or leave out the row."
            )
    return golds


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(type(value) is kind for value in values)


def _clipped(text: str, length: int = 60) -> str:
    return f'"{text if len(text) <= length else text[:length] + "..."}"'
