"""Guards a template whose places are filled wrongly, an answer that is not the first gold one, and scores of the other version."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads.batch import IGNORE
from manyheads.errors import UserError
from manyheads.task.base import Scored
from manyheads.task.written_answers import WrittenAnswers
from manyheads.testing import Rows, byte_tokenizer

END = 256
ROW = {"context": "a {question}", "question": "q {context}?", "answers": {"text": ["yes", "a"], "answer_start": [0, 0]}}
OPEN = {"context": "b", "question": "r?", "answers": {"text": [], "answer_start": []}}


def task(*rows: dict[str, Any], kind: str = "causal", **settings: Any) -> WrittenAnswers:
    source = Rows({"train": list(rows), "validation": list(rows), "test": list(rows)})
    source.ask(WrittenAnswers.fields)
    return WrittenAnswers(source=source, tokenizer=byte_tokenizer(), seed=1, kind=kind, **settings)


def test_the_template_is_filled_once() -> None:
    """A place that stands in a question or a context is text."""
    made = task(ROW)
    assert made.sources(made.source.rows("train")[:]) == ["question: q {context}? context: a {question}"]
    made = task(ROW, template="{context}\n{question}!")
    assert made.sources(made.source.rows("train")[:]) == ["a {question}\nq {context}?!"]


def test_an_encoder_reads_the_source_and_a_decoder_writes_the_first_answer() -> None:
    made = task(ROW, OPEN, kind="encoder-decoder", template="{question}{context}", batch_size=2)
    batch = next(iter(made.test_dataloader()))
    assert batch["source_ids"][0].tolist() == [*b"q {context}?a {question}", END]
    assert batch["labels"].tolist() == [[*b"yes", END], [END, IGNORE, IGNORE, IGNORE]]


def test_a_causal_network_reads_a_prompt() -> None:
    made = task(OPEN, ROW, template="{question}{context}", prompt="{source}=", batch_size=1, unanswerable=True)
    batch = list(made.test_dataloader())[1]
    assert batch["input_ids"].tolist() == [[END, *b"r?b="]]
    assert batch["labels"].tolist() == [[IGNORE] * 4 + [END]]


def test_scores_where_each_question_has_an_answer() -> None:
    assert task(ROW).scores("test", {0: "No."}) == {"exact_match": 0.0, "f1": 0.0}
    assert task(ROW).scores("test", {0: "Yes."}) == {"exact_match": 100.0, "f1": 100.0}


def test_the_empty_text_is_right_where_there_is_no_answer() -> None:
    scores = task(ROW, OPEN).scores("test", {0: "no", 1: ""})
    assert (scores["exact"], scores["has_ans_f1"], scores["no_ans_f1"]) == (50.0, 0.0, 100.0)
    assert task(ROW, OPEN).found == {"task": {"unanswerable": True}}


def test_predictions_are_texts() -> None:
    (line,) = task(ROW).predictions(Scored({0: 1.5}, {0: 4}, {0: "yes"}))
    assert line == {
        "id": 0, "input": {"question": "q {context}?", "context": "a {question}"}, "target": ["yes", "a"],
        "output": "yes",
        "score": {"exact_match": 100.0, "f1": 100.0}, "loss": 1.5,
    }  # fmt: skip


@pytest.mark.parametrize("template", ["{question}", "{context}", "{question} {context} {context}", ""])
def test_a_template_without_its_places(template: str) -> None:
    with pytest.raises(UserError) as caught:
        task(ROW, template=template)
    assert str(caught.value) == f"task.template={template}: write {{question}} and {{context}} once, where they stand."


def test_train_without_answers() -> None:
    with pytest.raises(UserError, match="no question of train has an answer"):
        task(OPEN).prepare()
