"""Guards windows that teach a wrong place, answers that are not the row's best, and thresholds found where they are used."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from manyheads.batch import IGNORE
from manyheads.errors import UserError
from manyheads.head.span import inside
from manyheads.metric.squad import Answer
from manyheads.task.base import Scored
from manyheads.task.span_answers import SpanAnswers, Window
from manyheads.testing import Rows, byte_tokenizer

END = 256


def row(context: str, answer: str | None, question: str = "q?", start: int | None = None) -> dict[str, Any]:
    """A row whose answer is at its first place unless another start is given."""
    if answer is None:
        return {"context": context, "question": question, "answers": {"text": [], "answer_start": []}}
    start = context.index(answer) if start is None else start
    return {"context": context, "question": question, "answers": {"text": [answer], "answer_start": [start]}}


def task(*rows: dict[str, Any], test: list[dict[str, Any]] | None = None, **settings: Any) -> SpanAnswers:
    source = Rows({"train": list(rows), "validation": list(rows), "test": test or list(rows)})
    source.ask(SpanAnswers.fields)
    return SpanAnswers(source=source, tokenizer=byte_tokenizer(), seed=1, **{"kind": "bidirectional", **settings})


def error_of(*rows: dict[str, Any], **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        task(*rows, **settings).prepare()
    return str(caught.value)


def column(made: SpanAnswers, name: str, split: str = "train") -> list[list[int]]:
    found = made.store(split)[name]
    return [found[i].tolist() for i in range(len(found))]


def test_windows_by_hand() -> None:
    """Room for 4 bytes beside end, "q?" and end; the answer "ef" is whole in the second window alone."""
    made = task(row("abcdefg", "ef"), max_tokens=8, stride=3)
    before = [END, *b"q?", END]
    assert column(made, "tokens") == [[*before, *b"abcd"], [*before, *b"defg"]]
    assert column(made, "span") == [[0, 0], [5, 6]]
    assert column(made, "starts") == [[0, 1, 2, 3], [3, 4, 5, 6]]
    assert column(made, "ends") == [[1, 2, 3, 4], [4, 5, 6, 7]]
    assert made.store("train").rows.tolist() == [0, 0]


def test_a_batch_by_hand() -> None:
    made = task(row("abcdef", "ef"), row("xy", "x"), max_tokens=64)
    batch = made.collate(False)(
        {name: [made.store("train")[name][i] for i in (0, 1)] for name in made.store("train").columns}
    )
    assert batch["input_ids"].tolist() == [
        [END, *b"q?", END, *b"abcdef"],
        [END, *b"q?", END, *b"xy", END, END, END, END],
    ]
    assert batch["token_types"].tolist() == [[0] * 4 + [1] * 6, [0] * 4 + [1] * 2 + [0] * 4]
    assert batch["segments"].tolist() == [[1] * 10, [1] * 6 + [0] * 4]
    assert batch["spans"].tolist() == [[8, 9], [4, 4]]
    assert batch["num_tokens"] == 16


def test_tokens_of_the_context_that_the_question_has_are_of_a_type_of_their_own() -> None:
    """Whatever their case: of "aQ-b", "Q" and "b" stand in the question "qB"; the end token before it is in no context."""
    made = task(row("aQ-b", "a", question="qB"), match=True)
    batch = made.collate(False)({name: [made.store("train")[name][0]] for name in made.store("train").columns})
    assert batch["token_types"].tolist() == [[0, 0, 0, 0, 1, 2, 1, 2]]
    assert inside(batch).tolist() == [[False] * 4 + [True] * 4]
    assert made.found["model"] == {"token_types": 3}


def test_a_network_that_reads_no_types_of_tokens() -> None:
    assert error_of(row("ab", "a"), match=True, kind="causal") == (
        "task.match=true: a causal network does not read types of tokens. Set model=encoder, or task.match=false."
    )


def test_what_is_taught_decodes_to_the_answer() -> None:
    """Characters of several bytes before and in the answer."""
    context = "Zoë’s 東京 😀 ok"
    made = task(*(row(context, answer) for answer in ("東京", "😀", "Zoë’s", "ok")))
    spans = made.store("train")["span"].values.reshape(-1, 2)
    for example, answer in enumerate(("東京", "😀", "Zoë’s", "ok")):
        first, last = (int(place) for place in spans[example])
        found = made.joined("train", {example: Window(1.0, first, last, 0.0)})
        assert found[example].text == answer
        assert found[example].start == context.index(answer)


def test_answers_that_are_not_at_their_offset_are_counted() -> None:
    """One is found elsewhere and learned there; one is nowhere: it is not learned, and scored."""
    rows = [row("a cat, a cat", "cat"), row("a cat, a cat", "cat", start=8), row("a cat", "dog", start=2)]
    made = task(*rows)
    assert column(made, "span") == [[6, 8], [13, 15], [IGNORE, IGNORE]]
    assert made.members("train").tolist() == [0, 1]
    assert made.members("test").tolist() == [0, 1, 2]
    assert made.told("train") == [
        "1 answers of train do not stand at their answer_start: the nearest place was taken",
        "1 answers of train do not stand in their context: they are scored, and not learned",
    ]
    assert made.targets(made.source.rows("test")[:]) == [["cat"], ["cat"], ["dog"]]


def test_long_contexts_and_long_answers_are_told() -> None:
    made = task(row("abcdefgh", "bcd"), row("ab", "a"), max_tokens=10, stride=2, max_answer_tokens=2)
    assert made.told("train") == [
        "1 of 2 contexts of train do not fit into task.max_tokens=10: they are read in windows, 3 in all",
        "answers in 1 windows of train are longer than task.max_answer_tokens=2: they cannot be given whole",
    ]


def test_the_first_gold_answer_is_taught_and_all_are_scored() -> None:
    both = {"context": "ab cd", "question": "q?", "answers": {"text": ["cd", "ab"], "answer_start": [3, 0]}}
    made = task(both)
    assert column(made, "span") == [[7, 8]]
    assert made.scores("test", {0: Window(1.0, 4, 5, 0.0)}) == {"exact_match": 100.0, "f1": 100.0}


def test_the_answer_of_a_row_is_the_best_of_its_windows() -> None:
    """By hand: windows abcd, cdef, efgh; the middle one is best, and the score of no answer is the lowest of the three."""
    made = task(row("abcdefgh", "ef"), row("xy", None), max_tokens=8, stride=2)
    outputs = {
        0: Window(1.0, 4, 7, 3.0),
        1: Window(5.0, 6, 7, 2.0),
        2: Window(4.0, 4, 4, 9.0),
        3: Window(1.0, 4, 4, 2.5),
    }
    found = made.joined("train", outputs)
    assert found[0] == Answer("ef", pytest.approx(1 / (1 + math.exp(3.0))), 4, 5.0, -3.0)
    assert found[1] == Answer("x", pytest.approx(1 / (1 + math.exp(-1.5))), 0, 1.0, 1.5)


def test_windows_that_are_equally_good() -> None:
    made = task(row("abcdefgh", "ef"), max_tokens=8, stride=2)
    outputs = {0: Window(1.0, 4, 4, 0.0), 1: Window(1.0, 4, 4, 0.0)}
    assert made.joined("train", outputs)[0].text == made.joined("train", dict(reversed(outputs.items())))[0].text == "a"


def test_white_space_around_an_answer_is_no_part_of_it() -> None:
    made = task(row("ab cd ", "cd"))
    assert made.joined("train", {0: Window(1.0, 6, 9, 0.0)})[0][:3:2] == ("cd", 3)


def test_a_context_without_a_token_has_no_answer() -> None:
    made = task(row("ab", "a"), row("", None))
    found = made.joined("train", {1: Window(-math.inf, 0, 0, 0.0)})
    assert found == {1: Answer("", 1.0)}
    json.dumps(made.shown(found[1]), allow_nan=False)


def test_the_threshold_is_found_on_validation_and_used_on_test() -> None:
    """On validation answers above 0.2 are wrong; on test, where all that was said is right, one of them is taken back."""
    rows = [row("ab", "a"), row("cd", None)]
    made = task(*rows, test=[row("ab", "a"), row("cd", "c"), row("ef", None)])
    assert made.threshold == 0.5
    sure, unsure = Window(2.0, 4, 4, 0.0), Window(2.0, 4, 4, 1.0)
    found = made.scores("validation", {0: sure, 1: unsure})
    assert made.threshold == found["no_answer_threshold"] == pytest.approx(1 / (1 + math.exp(2)))
    assert (found["exact"], found["f1"], found["no_ans_f1"]) == (100.0, 100.0, 100.0)
    tested = made.scores("test", {0: sure, 1: unsure, 2: unsure})
    assert tested["no_answer_threshold"] == found["no_answer_threshold"]
    assert (tested["exact"], tested["has_ans_exact"]) == (pytest.approx(200 / 3), 50.0)
    lines = list(made.predictions(Scored({0: 1.0, 2: 0.5}, {0: 1, 2: 1}, {0: sure, 1: unsure, 2: unsure})))
    assert [line["output"]["text"] for line in lines] == ["a", "", ""]
    assert [line["output"]["span"] for line in lines] == ["a", "c", "e"]
    assert [line["score"]["exact"] for line in lines] == [100.0, 0.0, 100.0]
    assert [line.get("loss") for line in lines] == [1.0, None, 0.5]


def test_a_threshold_that_was_set_is_kept() -> None:
    made = task(row("ab", "a"), row("cd", None), threshold=0.9)
    assert made.scores("validation", {0: Window(2.0, 4, 4, 0.0)})["no_answer_threshold"] == made.threshold == 0.9


def test_a_line_for_each_row_and_the_loss_of_all_its_windows() -> None:
    made = task(row("abcdefgh", "ef"), row("xy", "x"), max_tokens=8, stride=2)
    outputs = {example: Window(float(example), 4, 5, 0.0) for example in range(4)}
    lines = list(made.predictions(Scored({0: 1.0, 1: 2.0, 2: 4.0, 3: 8.0}, dict.fromkeys(range(4), 1), outputs)))
    assert [(line["id"], line["loss"]) for line in lines] == [(0, 7.0), (1, 8.0)]
    assert [line["output"] for line in lines] == [
        {"text": "ef", "start": 4, "score": 2.0},
        {"text": "xy", "start": 0, "score": 3.0},
    ]
    assert lines[0]["input"] == {"question": "q?", "context": "abcdefgh"}
    assert lines[0]["target"] == ["ef"]


def test_what_the_data_says_is_kept_and_can_be_said() -> None:
    rows = [row("ab", "a"), row("cd", None)]
    assert task(*rows).found == {"task": {"unanswerable": True}}
    assert task(rows[0]).found == {"task": {"unanswerable": False}}
    assert "exact" in {metric.name for metric in task(rows[0], unanswerable=True).output_metrics}


def test_rows_without_answers_are_read_where_something_is_asked() -> None:
    source = Rows({"test": [{"context": "ab", "question": "q?"}]})
    source.ask(SpanAnswers.asked)
    made = SpanAnswers(source=source, tokenizer=byte_tokenizer(), seed=1, kind="bidirectional")
    (batch,) = list(made.test_dataloader())
    assert batch["spans"].tolist() == [[IGNORE, IGNORE]]
    assert made.joined("test", {0: Window(1.0, 5, 5, 0.0)})[0].text == "b"


def test_a_question_without_room_for_its_context() -> None:
    said = error_of(row("ab", "a", question="q" * 10), max_tokens=12, stride=5)
    assert said == (
        "task.max_tokens=12: a question of 10 tokens leaves no room for its context. Set task.max_tokens=17 or more, or leave "
        "out the row."
    )
    task(row("ab", "a", question="q" * 10), max_tokens=13, stride=5).prepare()


def test_train_without_answers() -> None:
    assert error_of(row("ab", None)).startswith("data (rows): no question of train has an answer.")
    assert error_of(row("ab", "c", start=0)) == (
        "data (rows): no answer of train stands in its context. Set data.columns.context and data.columns.answers to the "
        "columns that belong together."
    )


def test_an_unanswered_question_where_each_should_have_an_answer() -> None:
    assert "task.unanswerable=false" in error_of(row("ab", "a"), row("cd", None), unanswerable=False)


@pytest.mark.parametrize(
    ("name", "value"), [("max_tokens", 3), ("stride", 0), ("max_answer_tokens", 0), ("threshold", 1.5)]
)
def test_numbers_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"^task\.{name}={value}"):
        task(row("ab", "a"), **{name: value})


def test_the_order_of_examples_is_that_of_rows() -> None:
    """Scoring batches go by length, and nothing is lost on the way."""
    rows = [row("x" * length + "ab", "ab") for length in (3, 30, 11, 70)]
    made = task(*rows, max_tokens=24, stride=7, batch_size=3)
    seen = np.concatenate([batch["examples"].numpy() for batch in made.test_dataloader()])
    assert sorted(seen.tolist()) == list(range(len(made.store("test"))))
