"""Guards: a loss over the source, a target that is cut without being told, outputs of another row."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from manyheads.batch import IGNORE
from manyheads.errors import UserError
from manyheads.task.base import Scored
from manyheads.task.layouts import LAYOUTS
from manyheads.task.translation import Translation
from manyheads.testing import Rows, byte_tokenizer, scripted, tiny_network

END = byte_tokenizer().end_id
ROWS = [
    {"source": "Hund", "target": "dog"},
    {"source": "eine Katze", "target": "a cat"},
    {"source": "", "target": "nothing"},
]


def make(kind: str, rows: list[dict[str, Any]] = ROWS, **settings: Any) -> Translation:
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Translation.fields)
    settings = {"prompt": "{source}=", "num_beams": 1, **settings}
    return Translation(source=source, tokenizer=byte_tokenizer(), seed=1, kind=kind, **settings)


def rows_of(task: Translation) -> dict[int, dict[str, Any]]:
    found = {}
    for batch in task.test_dataloader():
        for place, example in enumerate(batch["examples"].tolist()):
            found[example] = {name: value[place].tolist() for name, value in batch.items() if value.ndim}
    return found


def test_an_encoder_reads_the_source_and_the_decoder_learns_the_target_and_its_end() -> None:
    found = rows_of(make("encoder-decoder", eval_batch_size=1))
    assert found[0]["source_ids"] == [*b"Hund", END]
    assert found[0]["input_ids"] == [END, *b"dog"]
    assert found[0]["labels"] == [*b"dog", END]
    assert found[2]["source_ids"] == [END]


def test_without_an_encoder_the_target_follows_the_prompt_and_alone_is_learned() -> None:
    found = rows_of(make("causal", eval_batch_size=1))
    assert found[0]["input_ids"] == [END, *b"Hund=dog"]
    assert found[0]["labels"] == [IGNORE] * 5 + [*b"dog", END]


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
def test_labels_decode_to_the_targets_and_bytes_are_theirs(kind: str) -> None:
    for batch_size in (1, 2, 7):
        task = make(kind, eval_batch_size=batch_size)
        for example, row in rows_of(task).items():
            labels = [token for token in row["labels"] if token != IGNORE]
            assert task.tokenizer.decode(labels) == ROWS[example]["target"]
            assert labels[-1] == END
            assert row["num_bytes"] == len(ROWS[example]["target"])


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
def test_a_row_in_a_batch_is_the_row_alone(kind: str) -> None:
    alone, together = rows_of(make(kind, eval_batch_size=1)), rows_of(make(kind, eval_batch_size=3))
    for example, row in alone.items():
        for name, values in row.items():
            if isinstance(values, list):
                assert together[example][name][: len(values)] == values


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
def test_tokens_that_are_read_are_counted_padding_apart(kind: str) -> None:
    task = make(kind, eval_batch_size=3)
    (batch,) = list(task.test_dataloader())
    assert int(batch["num_tokens"]) == task.tokens_per_epoch


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
def test_what_is_too_long_is_cut_and_told_and_a_cut_target_teaches_no_end(kind: str) -> None:
    task = make(kind, max_source_tokens=4, max_target_tokens=4, eval_batch_size=1)
    task.prepare(["test"])
    assert task.notes == [
        "1 of 3 sources of test are longer than task.max_source_tokens=4: their ends were left out, 6 tokens",
        "2 of 3 targets of test are longer than task.max_target_tokens=4: their ends were left out, 6 tokens",
        "1 of 3 sources of test are empty",
    ]
    labels = [token for token in rows_of(task)[1]["labels"] if token != IGNORE]
    assert labels == [*b"a ca"]
    assert rows_of(task)[1]["num_bytes"] == 4


def test_training_examples_stand_beside_others_of_like_padding() -> None:
    """An encoder and a decoder pad sources and targets apart, so that a sum of lengths says little; in one row, it says all."""
    shapes = [(1, 30), (30, 1), (15, 16), (16, 15)]
    rows = [{"source": "s" * a, "target": "t" * b} for a, b in shapes for _ in range(8)]
    for kind in LAYOUTS:
        batches = list(make(kind, rows, batch_size=8).train_dataloader())
        names = [name for name in ("input_ids", "source_ids") if name in batches[0]]
        assert (
            sum(batch[name].numel() for batch in batches for name in names)
            == {
                # ends are one more token on each side; in one row, a start and the sign between, and no end
                "encoder-decoder": 8 * sum(a + 1 + b + 1 for a, b in shapes),
                "causal": 8 * sum(1 + a + 1 + b for a, b in shapes),
                "counting": 8 * sum(1 + a + 1 + b for a, b in shapes),
            }[kind]
        )


def test_outputs_are_written_from_the_prompt_alone() -> None:
    """The network repeats what it read first, so an output of another row would show."""

    def rule(read: list[int]) -> int:
        if ord("=") not in read:
            return END  # within the prompt: nobody asks
        asked = read.index(ord("="))
        written = len(read) - asked - 1
        return read[1 + written] if 1 + written < asked else END

    for batch_size in (1, 3):
        task = make("causal", [row for row in ROWS if row["source"]], eval_batch_size=batch_size)
        network, head = scripted(rule, END + 1)
        found = {}
        for batch in task.test_dataloader():
            outputs = task.read(network, head, batch, torch.empty(0))
            found.update(zip(batch["examples"].tolist(), outputs, strict=True))
        assert found == {0: "Hund", 1: "eine Katze"}


def test_scores_and_predictions_hold_outputs_to_the_references() -> None:
    rows = [
        {"source": "a", "target": "x y z w", "references": ["x y z w", "v"]},
        {"source": "b", "target": "q", "references": None},
    ]
    task = make("causal", rows)
    assert task.targets(task.source.rows("test")[:]) == [["x y z w", "v"], ["q"]]
    assert task.scores("test", {0: "x y z w", 1: "q"})["bleu"] == pytest.approx(100)
    lines = list(task.predictions(Scored({0: 2.0}, {0: 5}, {0: "x y z w", 1: "no"})))
    assert [(line["id"], line["input"], line["target"], line["output"]) for line in lines] == [
        (0, "a", ["x y z w", "v"], "x y z w"),
        (1, "b", "q", "no"),
    ]
    assert lines[0]["loss"] == 2.0


def test_outputs_are_read_while_training_only_where_their_score_is_watched() -> None:
    task = make("causal")
    task.watch("val/bits_per_byte")
    assert not task.while_training
    task.watch("val/bleu")
    assert task.while_training


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
def test_samples_begin_with_sources_of_validation(kind: str) -> None:
    first, last = make(kind).prompts(2)
    assert (first.prompt, last.prompt) == ("Hund\n", "\n")
    asked = first.ids if first.source is None else first.source
    assert asked == ([*b"Hund="] if first.source is None else [*b"Hund", END])


@pytest.mark.parametrize("prompt", ["no place", "{source} and {source}"])
def test_a_prompt_has_one_place_for_the_source(prompt: str) -> None:
    with pytest.raises(UserError, match=r"task\.prompt=.*: write \{source\} once"):
        make("causal", prompt=prompt)


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize(
    ("kept", "form"), [({"choices": ["dog", "a cat"]}, r"dog|a cat"), ({"regex": "[xy]{2,5}"}, r"[xy]{2,5}")]
)
def test_outputs_are_kept_to_choices_or_an_expression(kept: dict[str, Any], form: str, num_beams: int) -> None:
    """While a split is scored, whatever the network would rather write."""
    task = make("causal", eval_batch_size=2, num_beams=num_beams, max_target_tokens=8, **kept)
    network, head = (part.eval() for part in tiny_network(task.tokenizer.vocab_size, seed=1))
    with torch.no_grad():
        found = [text for batch in task.test_dataloader() for text in task.read(network, head, batch, network(batch))]
    assert len(found) == len(ROWS)
    assert all(re.fullmatch(form, text) for text in found), found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"choices": []}, "task.choices=[]: set a list of at least one text."),
        ({"choices": ["dog"], "regex": "a"}, "task.regex=a does not go with choices=['dog']: leave one of them out."),
        (
            {"choices": ["a long one"]},
            "task.max_target_tokens=8: a choice of 10 tokens and its end have no room; set at least 11.",
        ),
        ({"regex": "("}, "task.regex="),
    ],
)
def test_what_outputs_cannot_be_kept_to_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make("causal", max_target_tokens=8, **settings)
    assert str(caught.value).startswith(message)
