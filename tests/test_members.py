"""Guards: a member whose head or data is another's, and an error that names a key which the member has not."""

from __future__ import annotations

import pytest

from manyheads import compatibility
from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.members import check_settings_of, data_choice, member_of, members_of, named
from manyheads.run.compose import compose

TWO = ["task=mixture", "+task@task.members.topics=classification", "+task@task.members.text=masked"]


def check(*words: str) -> None:
    config, choices = compose("train", list(words), CONF_DIR)
    check_settings_of(config)
    compatibility.check(config, choices)


def error_of(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        check(*words)
    return str(caught.value)


def test_a_member_is_a_config_of_its_own() -> None:
    config, choices = compose("train", [*TWO, "+data@task.members.topics.data=ag_news"], CONF_DIR)
    members = members_of(config)
    targets = {name: (one.task._target_, one.head._target_, one.data._target_) for name, one in members.items()}
    assert {name: [target.rpartition(".")[2] for target in found] for name, found in targets.items()} == {
        "topics": ["Classification", "Label", "hub"],
        "text": ["Masked", "MaskedToken", "pydocs"],
    }
    assert members["topics"].model == members["text"].model == config.model
    assert "head" not in members["topics"].task
    assert data_choice(config, choices) == "ag_news + pydocs"
    check(*TWO, "+data@task.members.topics.data=ag_news")


def test_a_single_task_has_no_members() -> None:
    config, choices = compose("train", [], CONF_DIR)
    assert members_of(config) == {}
    assert data_choice(config, choices) == "pydocs"
    assert member_of(config, None, "predict") is config
    with pytest.raises(UserError, match="member=a: this run has a single task"):
        member_of(config, "a", "predict")


def test_the_member_that_is_asked_has_to_be_named() -> None:
    config, _ = compose("train", TWO, CONF_DIR)
    assert member_of(config, "text", "predict").task.seq_len == 128
    with pytest.raises(UserError, match=r"predict: this run has several tasks\. Set member=topics or member=text\."):
        member_of(config, None, "predict")
    with pytest.raises(UserError, match=r"member=news: this run has none of that name\. Set member=topics or"):
        member_of(config, "news", "predict")


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        ("task.batch_size=0: set more.", True, "task.members.a.batch_size=0: set more."),
        ("Set head=label or head=span.", True,
         "Set +head@task.members.a.head=label or +head@task.members.a.head=span."),
        ("head.pool=x, data.path=y", True, "task.members.a.head.pool=x, task.members.a.data.path=y"),
        ("head.pool=x, data.path=y", False, "task.members.a.head.pool=x, data.path=y"),
        ("data (rows): no label. Set data=json.", False,
         "data (rows): no label. Set +data@task.members.a.data=json."),
        ("the file is not there", True, "task.members.a: the file is not there"),
    ],
)  # fmt: skip
def test_errors_name_the_keys_of_the_member(text: str, own: bool, expected: str) -> None:
    assert named(text, "a", own_data=own) == expected


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["task=mixture"], "task.members is empty: a mixture needs two tasks at least."),
        (TWO[:2], "task.members has topics alone"),
        ([*TWO, "task.weights={topics:1}"], "task.weights has none for text"),
        ([*TWO, "task.weights={topics:1,text:-2}"], "task.weights.text=-2: set a number of at least 0."),
        ([*TWO, "task.weights={topics:1,text:1,txt:1}"], "task.weights.txt=1: there is no member txt. Did you mean 'text'?"),
        ([*TWO, "+task@task.members.more=mixture"], "task.members.more is a mixture itself. Put its members beside"),
        ([*TWO, "+task.members.more=3"], "task.members.more=3 names no task. Choose one with +task@task.members.more=NAME."),
        ([*TWO, "+task.members.text.seq_lenn=3"], "task.members.text.seq_lenn=3 is no setting of Masked. Did you mean 'seq_len'"),
        ([*TWO, "task.members.text.seq_len=many"], "task.members.text.seq_len=many: set a whole number."),
        ([*TWO, "head=label"], "head=label does not fit task=mixture. Set head=members"),
        ([*TWO, "+head@task.members.text.head=label"],
         "+head@task.members.text.head=label does not fit +task@task.members.text=masked. Set +head@task.members.text.head=masked_token."),
        ([*TWO, "callbacks.monitor=val/accuracy"],
         "callbacks.monitor=val/accuracy is not measured; set one of val/loss, val/loss/topics, val/loss/text, "),
        (["task=[classification,masked]"], "Several tasks in one run are task=mixture"),
        ([*TWO[:2], "task@task.members.text=masked"],
         "task@task.members.text: what the config does not have yet is added with a plus sign: +task@task.members.text="),
        ([*TWO[:2], "+task@task.members.text=maskd"], "task has no choice 'maskd'"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_any_data_is_read(words: list[str], text: str) -> None:
    assert text in error_of(*words)


def test_a_network_that_one_member_cannot_use_names_those_that_all_can() -> None:
    text = error_of(*TWO, "model=tiny")
    assert text.startswith(
        "task.members.text: model=tiny is causal, and head=masked_token needs bidirectional: a hidden token is told from "
        "what stands before and behind it. Set model=bert or model=encoder or model=roberta or model=textcnn."
    )


def test_members_that_no_network_can_do_together_are_told_apart() -> None:
    text = error_of("task=mixture", "+task@task.members.text=masked", "+task@task.members.more=generation")
    assert "model=tiny is causal" in text
    assert "for none goes with all of these: text goes with bert encoder roberta textcnn; more goes with " in text


def test_monitors_of_members_have_their_direction() -> None:
    check(*TWO, "callbacks.monitor=val/accuracy/topics")


def test_rows_longer_than_the_learned_positions_name_the_member() -> None:
    assert error_of(*TWO, "model=bert", "task.members.text.seq_len=1024").startswith(
        "task.members.text.seq_len=1024 is longer than the network's positions. Set task.members.text.seq_len=512"
    )
