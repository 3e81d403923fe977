"""Guards: a loss over what the user says, turns that are cut in the middle, a dialogue's numbers in another's place."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from manyheads.baseline.chat import bigram
from manyheads.batch import IGNORE
from manyheads.errors import UserError
from manyheads.head.base import HeadOutput
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.task.base import Scored
from manyheads.task.chat import Chat
from manyheads.testing import Rows, byte_tokenizer, scripted, uniform

SYSTEM, USER, ASSISTANT, END = 257, 258, 259, 260
Turns = list[dict[str, Any]]


def talk(*said: str, system: str | None = None) -> Turns:
    roles = ["user", "assistant"] * len(said)
    turns = [{"role": role, "content": content} for role, content in zip(roles, said, strict=False)]
    return [*([{"role": "system", "content": system}] if system else []), *turns]


def made(*dialogues: Any, kind: str = "causal", **settings: Any) -> Chat:
    rows = [{"messages": dialogue} for dialogue in dialogues]
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Chat.fields)
    return Chat(source=source, tokenizer=byte_tokenizer(), seed=1, kind=kind, **settings)


DIALOGUES = [talk("ab", "cde", "f", "gé"), talk("h", "i", system="s"), talk("jkl", "m", "n")]
REPLIES = [["cde", "gé"], ["i"], ["m"]]


@pytest.mark.parametrize("kind", ["causal", "encoder-decoder"])
def test_the_labels_are_the_replies_and_nothing_else(kind: str) -> None:
    task = made(*DIALOGUES, kind=kind)
    [batch] = list(task.test_dataloader())
    learned = [row[row != IGNORE].tolist() for row in batch["labels"]]
    texts = sorted(task.tokenizer.decode(row) for row in learned)
    joined = [reply for replies in REPLIES for reply in replies]
    assert texts == sorted(["".join(replies) for replies in REPLIES] if kind == "causal" else joined)
    assert sum(row.count(END) for row in learned) == len(joined) == 4
    assert batch["num_bytes"].sum().item() == len("cdegéim".encode()) == 8


@pytest.mark.parametrize("kind", ["causal", "encoder-decoder"])
def test_the_loss_of_a_uniform_network_is_counted_by_hand(kind: str) -> None:
    """Bytes cde, gé, i, m and four ends: 12 labels of ln 261 nats each; 8 bytes."""
    task = made(*DIALOGUES, kind=kind)
    _, head = uniform(task.tokenizer.vocab_size)
    [batch] = list(task.test_dataloader())
    hidden = torch.zeros(*batch["labels"].shape, 261)
    output = head(hidden, batch)
    assert output.count.item() == 12
    assert output.loss_sum.item() == pytest.approx(12 * math.log(261), rel=1e-5)
    metric = BitsPerByte()
    metric.update(HeadOutput(output.loss_sum, output.count), batch)
    assert metric.compute().item() == pytest.approx(12 * math.log2(261) / 8, rel=1e-5)


@pytest.mark.parametrize("kind", ["causal", "encoder-decoder"])
def test_predictions_have_a_line_for_each_dialogue_and_a_loss_for_each_reply(kind: str) -> None:
    task = made(*DIALOGUES, kind=kind)
    network, head = uniform(261)
    scored = Scored({}, {}, {})
    [batch] = list(task.test_dataloader())
    hidden = torch.zeros(*batch["labels"].shape, 261)
    for example, losses in zip(batch["examples"].tolist(), task.read(network, head, batch, hidden), strict=True):
        scored.outputs[example] = losses  # type: ignore[index]
        scored.loss[example] = sum(losses)  # type: ignore[index]
        scored.labels[example] = round(sum(losses) / math.log(261))  # type: ignore[index]
    lines = list(task.predictions(scored))
    each = math.log(261)
    assert [line["id"] for line in lines] == [0, 1, 2]
    assert [line["target"] for line in lines] == REPLIES
    assert lines[0]["losses"] == pytest.approx([4 * each, 4 * each], rel=1e-5)
    assert lines[0]["loss"] == pytest.approx(8 * each, rel=1e-5)
    assert [(line["tokens"], line["bytes"]) for line in lines] == [(8, 6), (2, 1), (2, 1)]
    assert lines[1]["bits_per_byte"] == pytest.approx(2 * math.log2(261), rel=1e-5)
    assert lines[1]["input"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "h"}]
    assert lines[2]["input"] == [{"role": "user", "content": "jkl"}]


def test_a_long_dialogue_loses_its_first_exchanges_and_the_run_tells() -> None:
    """ "s" 3 tokens, each turn of one letter 3, and the end in front: 1 + 3 + 6 = 10 for the last exchange."""
    long = talk("a", "b", "c", "d", "e", "f", system="s")
    task = made(long, talk("x" * 20, "y"), talk("u", "v"), max_tokens=16)
    store = task.store("train")
    assert store.rows.tolist() == [0, 2]
    assert task.tokenizer.decode(store["tokens"][0].tolist()) == "scdef"
    assert store["tokens"][0].tolist()[:5] == [256, SYSTEM, 115, END, USER]
    assert len(store["tokens"][0]) == 16
    assert task.notes == [
        "1 of 3 dialogues of train are longer than task.max_tokens=16: their first turns were left out, 2 turns",
        "1 of 3 dialogues of train were left out: their last exchange alone is longer than task.max_tokens=16",
    ]
    assert task.told("test") == [note.replace("train", "test") for note in task.notes[:2]]
    [first, _] = list(task.predictions(Scored({0: 1.0, 1: 1.0}, {0: 4, 1: 2}, {})))
    assert first["target"] == ["d", "f"]
    assert [turn["content"] for turn in first["input"]] == ["s", "c", "e"]


def test_what_nobody_answered_is_left_out_and_told() -> None:
    task = made(*DIALOGUES)
    assert task.tokenizer.decode(task.store("train")["tokens"][2].tolist()) == "jklm"
    assert task.notes == ["1 of 3 dialogues of train end with a turn of the user: it was left out"]


@pytest.mark.parametrize("kind", ["causal", "encoder-decoder"])
def test_samples_begin_up_to_a_reply_and_end_with_the_turn(kind: str) -> None:
    task = made(DIALOGUES[0], kind=kind)
    shown = task.prompts(2)[-1]
    assert shown.prompt == "user: ab\nassistant: cde\nuser: f\nassistant: "
    ids = [256, USER, 97, 98, END, ASSISTANT, 99, 100, 101, END, USER, 102, END, ASSISTANT]
    assert (shown.ids, shown.source) == ((ids[1:], None) if kind == "causal" else ([], ids))
    assert shown.ends == {SYSTEM, USER, ASSISTANT, END}
    if kind == "encoder-decoder":
        assert task.prompts(2)[0].prompt == "user: ab\nassistant: "


@pytest.mark.parametrize("kind", ["causal", "encoder-decoder"])
def test_a_text_of_the_users_is_a_turn(kind: str) -> None:
    ids = [*([256] if kind == "encoder-decoder" else []), USER, 97, END, ASSISTANT]
    assert made(DIALOGUES[0], kind=kind).question("a") == ids


def test_the_replies_of_a_split_are_what_a_baseline_counts() -> None:
    found = list(made(*DIALOGUES).replies("test"))
    assert found[0] == [ASSISTANT, 99, 100, 101, END]
    assert found[1:] == [[ASSISTANT, *"gé".encode(), END], [ASSISTANT, 105, END], [ASSISTANT, 109, END]]
    assert list(made(*DIALOGUES, kind="encoder-decoder").replies("test")) == found


def test_the_baseline_is_the_bigram_of_the_replies() -> None:
    """8 bytes and 12 labels, as the networks are scored."""
    task = made(*DIALOGUES)
    found = task.baselines("test")["bigram"]
    replies = list(task.replies("train"))
    assert found["bits_per_byte"] == pytest.approx(bigram(replies, replies, vocab_size=261, num_bytes=8), rel=1e-12)
    assert found["loss"] == pytest.approx(found["bits_per_byte"] * 8 * math.log(2) / 12, rel=1e-12)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]), rel=1e-12)


@pytest.mark.parametrize(
    ("dialogue", "wrong"),
    [
        (talk("a"), "messages has no turn of the assistant, so that nothing can be learned"),
        (talk("a", " "), "messages[1].content is empty"),
        ([{"role": "bot", "content": "a"}], "messages[0].role=bot is none of system, user, assistant"),
        (talk("a", "b")[1:], "messages[0].role=assistant: the user speaks first"),
    ],
)
def test_a_row_that_is_no_dialogue_is_named(dialogue: Turns, wrong: str) -> None:
    """Its number counts across the batches in which rows are read."""
    task = made(*[talk("a", "b")] * 1203, dialogue)
    with pytest.raises(UserError) as caught:
        task.prepare()
    assert str(caught.value) == f"data (rows): row 1203 of train: {wrong}. Mend the row, or leave it out."


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([{"messages": "hello"}],
         "data.columns.messages=messages of rows is no list of items with a text content: it holds string."),
        ([{"messages": ["hello"]}],
         "data.columns.messages=messages of rows is no list of items with a text content: it holds lists of string."),
        ([{"messages": [{"role": "user", "text": "a"}]}],
         "data.columns.messages=messages of rows is no list of items with a text content: an item of it has no content."),
        ([{"messages": [{"role": "user", "content": 1}]}],
         "data.columns.messages=messages of rows is no list of items with a text content: an item of it has no text as "
         "content but int64."),
        ([{"turns": [{"role": "user", "content": "a"}]}], "data.columns.messages=messages is no column of rows."),
    ],
)  # fmt: skip
def test_a_column_that_holds_no_dialogues_is_told_before_anything_is_made_of_it(rows: Any, wrong: str) -> None:
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Chat.fields)
    with pytest.raises(UserError) as caught:
        next(source.texts("train"))
    assert str(caught.value).startswith(wrong)


def test_what_is_asked_of_a_trained_network_is_the_next_reply() -> None:
    """It says "ok" after each assistant's marker; a reply that stands in the row is the target and is not read."""
    read: list[list[int]] = []

    def rule(tokens: list[int]) -> int:
        read.append([*tokens])
        said = tokens[len(tokens) - tokens[::-1].index(ASSISTANT) :] if ASSISTANT in tokens else []
        return [*b"ok", END, 0][min(len(said), 3)]

    network, head = scripted(rule, 261)
    found = list(made(talk("a", "b", "c"), talk("d", "e")).answers(network, head))
    assert found == [
        {"id": 0, "input": talk("a", "b", "c"), "output": "ok"},
        {"id": 1, "input": talk("d"), "output": "ok", "target": "e"},
    ]
    assert not any(101 in tokens for tokens in read)
    with pytest.raises(UserError, match=r"data \(rows\): row 1: messages\[0\]\.role=assistant: the user speaks first"):
        list(made(talk("a"), talk("a", "b")[1:]).answers(network, head))


def test_a_limit_too_small_for_any_exchange_is_told() -> None:
    with pytest.raises(UserError, match=r"task\.max_tokens=3: set a number of at least 8"):
        made(talk("a", "b"), max_tokens=3)
