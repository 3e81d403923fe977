"""Guards: a member that is scored or trained otherwise than alone, steps of two members, names that say nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from manyheads.data.together import Together
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.head.label import Label
from manyheads.head.members import Members
from manyheads.head.next_token import NextToken
from manyheads.lm import LM
from manyheads.optim.base import Optimization
from manyheads.optim.budget import Budget
from manyheads.optim.schedule import Course
from manyheads.task.base import Scored, Task
from manyheads.task.classification import Classification
from manyheads.task.generation import Generation
from manyheads.task.mixture import Mixture, check_names
from manyheads.task.span_answers import SpanAnswers
from manyheads.testing import Rows, byte_tokenizer, tiny_network

TOPICS = [
    {"text": f"{'good' if i % 3 else 'bad'} {'x' * (i % 5)}", "label": "yes" if i % 3 else "no"} for i in range(14)
]
TEXTS = [f"a text {i * i} {'y' * (i % 7)}" for i in range(18)]
VOCABULARY = byte_tokenizer().vocab_size


def make(weights: dict[str, Any] | None = None, batch_size: int = 3) -> Mixture:
    topics = Rows({"train": TOPICS, "validation": TOPICS[:5], "test": TOPICS[5:9]})
    topics.ask(Classification.fields)
    text = Rows({"train": TEXTS, "validation": TEXTS[:4], "test": TEXTS[4:6]})
    shared: dict[str, Any] = {"tokenizer": byte_tokenizer(), "seed": 1, "batch_size": batch_size}
    members: dict[str, Task] = {
        "topics": Classification(source=topics, kind="causal", reads="classes", **shared),
        "text": Generation(source=text, seq_len=16, pack=False, **shared),
    }
    source = Together({"topics": topics, "text": text})
    return Mixture(source=source, tokenizer=shared["tokenizer"], members=members, weights=weights)


def heads(dim: int) -> dict[str, Head]:
    torch.manual_seed(3)
    label = Label(dim=dim, labels=["no", "yes"], init_std=0.5)
    return {"topics": label, "text": NextToken(dim=dim, vocab_size=VOCABULARY, init_std=0.5)}


class Kept(torch.optim.SGD):
    """Plain descent with a decay that would move what has a gradient of zero; remembers the gradients of each step."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(module.parameters(), lr=0.05, weight_decay=0.1)
        self.names = [name for name, _ in module.named_parameters()]
        self.seen: list[dict[str, Tensor | None]] = []

    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure is not None else None
        found = [p.grad for group in self.param_groups for p in group["params"]]
        self.seen.append(dict(zip(self.names, (None if g is None else g.clone() for g in found), strict=True)))
        super().step()
        return loss


def lm_of(task: Task, head: Head, network: Any, made: list[Kept] | None = None, steps: int = 1) -> LM:
    def optimization(module: torch.nn.Module) -> Optimization:
        assert made is not None
        made.append(Kept(module))
        return Optimization(made[-1], Course(schedule="constant", warmup_steps=0))

    return LM(network=network, head=head, metrics=task.metrics, outputs=task.outputs, optimization=optimization,
              budget=Budget(max_steps=steps))  # fmt: skip


def trainer(folder: Path, **settings: Any) -> pl.Trainer:
    return pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                      enable_model_summary=False, default_root_dir=folder, use_distributed_sampler=False,
                      **settings)  # fmt: skip


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Mixture, LM, Members]:
    """A mixture whose test split was just scored."""
    network, _ = tiny_network(VOCABULARY)
    task, head = make(), Members(heads=heads(network.dim))
    lm = lm_of(task, head, network)
    trainer(tmp_path).test(lm, datamodule=task, verbose=False)
    return task, lm, head


def test_scores_of_a_member_are_those_of_the_member_alone(scored: Any, tmp_path: Path) -> None:
    task, lm, head = scored
    found = lm.scores
    names, later = set(), set()
    for name, member in task.members.items():
        alone = lm_of(member, head.of(name), lm.network)
        trainer(tmp_path).test(alone, datamodule=member, verbose=False)
        for metric, value in alone.scores.items():
            assert found[f"{metric}/{name}"] == pytest.approx(value, rel=1e-9)
            names.add(f"{metric}/{name}")
        own, whole = Scored(alone.examples.loss, alone.examples.count, alone.outputs), Scored(
            lm.examples.loss, lm.examples.count, lm.outputs
        )  # fmt: skip
        lines = [line for line in task.predictions(whole) if line.get("member") == name]
        assert [{key: value for key, value in line.items() if key != "member"} for line in lines] == [
            dict(line) for line in member.predictions(own)
        ]
        assert lines
        for metric, value in member.of_split("test", own).items():
            assert task.of_split("test", whole)[f"{metric}/{name}"] == pytest.approx(value, rel=1e-9)
            later.add(f"test/{metric}/{name}")
    assert set(found) == names | {"test/loss"}
    assert found["test/loss"] == pytest.approx((found["test/loss/topics"] + found["test/loss/text"]) / 2)
    assert {f"test/{metric.name}" for metric in (*task.metrics, *task.output_metrics)} == {*found, *later}
    assert later == {"test/perplexity_per_word/text"}


@pytest.mark.parametrize("together", [1, 2])
def test_a_step_is_of_one_member_and_its_gradient_is_that_members_own(together: int, tmp_path: Path) -> None:
    """The oracle is torch's gradient of the mean loss over the labels of the step's batches, of that member alone."""
    made: list[Kept] = []
    network, _ = tiny_network(VOCABULARY)
    task = make({"topics": 1, "text": 2})
    lm = lm_of(task, Members(heads=heads(network.dim)), network, made, steps=6)
    fit = trainer(tmp_path, max_steps=6, accumulate_grad_batches=together, limit_val_batches=0, gradient_clip_val=1e9,
                  precision="64-true")  # fmt: skip
    fit.fit(lm, datamodule=task)

    oracle, other = tiny_network(VOCABULARY)[0], make({"topics": 1, "text": 2})
    other.trainer = fit
    own = Members(heads=heads(oracle.dim))
    whole = torch.nn.ModuleDict({"network": oracle, "head": own}).double()
    descent = torch.optim.SGD(whole.parameters(), lr=0.05, weight_decay=0.1)
    loader = iter(other.train_dataloader())
    turns = []
    for seen in made[0].seen:
        batches = [next(loader) for _ in range(together)]
        (member,) = {batch.get("member") for batch in batches}
        turns.append(member)
        outputs = [own.of(member)(oracle(batch), batch) for batch in batches]
        descent.zero_grad(set_to_none=True)
        (sum(o.loss_sum for o in outputs) / sum(o.count for o in outputs)).backward()  # type: ignore[union-attr]
        for name, parameter in whole.named_parameters():
            if parameter.grad is None:
                assert seen[name] is None, name
            else:
                torch.testing.assert_close(seen[name], parameter.grad, rtol=1e-8, atol=1e-12)
        descent.step()
    assert turns == ["text", "topics", "text", "text", "topics", "text"]
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(lm.get_parameter(name), parameter, rtol=1e-8, atol=1e-12)


def test_what_a_member_needs_of_the_network_is_set_for_all() -> None:
    rows = [{"context": "ab", "question": "a?", "answers": {"text": ["b"], "answer_start": [1]}}]
    asked = Rows(dict.fromkeys(("train", "validation", "test"), rows))
    asked.ask(SpanAnswers.fields)
    answers = SpanAnswers(source=asked, tokenizer=byte_tokenizer(), seed=1, kind="bidirectional", match=True)
    made = Mixture(source=Together({"answers": asked}), tokenizer=byte_tokenizer(), members={"answers": answers})
    assert made.found == {"task.members.answers": {"unanswerable": False}, "model": {"token_types": 3}}


def test_what_members_found_in_the_data_has_their_places() -> None:
    assert make().found == {
        "task.members.topics": {"labels": ["no", "yes"], "several": False},
        "task.members.topics.head": {"labels": ["no", "yes"], "several": False},
    }


def test_what_is_said_of_the_data_is_said_of_each_member() -> None:
    task = make({"topics": 1, "text": 3})
    task.prepare()
    assert task.summary == (
        "topics: 3 examples in a batch, of up to 10 tokens, 25.0% of the steps\n"
        "text: rows of 16 tokens, 3 in a batch, 75.0% of the steps"
    )
    assert {name: size["rows"] for name, size in task.describe().items()} == {
        "topics: train": 14, "topics: validation": 5, "topics: test": 4,
        "text: train": 18, "text: validation": 4, "text: test": 2,
    }  # fmt: skip


def test_baselines_have_the_scores_of_each_member_under_its_name() -> None:
    task = make()
    alone = {name: member.baselines("test") for name, member in task.members.items()}
    found = task.baselines("test")
    assert set(found) == {*alone["topics"], *alone["text"]}
    assert found["majority"]["accuracy/topics"] == alone["topics"]["majority"]["accuracy"]
    assert found["unigram"]["loss/text"] == alone["text"]["unigram"]["loss"]


def test_a_monitored_output_is_read_while_training_and_others_only_then() -> None:
    task = make()
    told: dict[str, str] = {}
    for name, member in task.members.items():
        member.watch = lambda monitor, name=name: told.update({name: monitor})  # type: ignore[method-assign]
    task.watch("val/accuracy/topics")
    assert told == {"topics": "val/accuracy", "text": "val/loss"}


def test_samples_are_of_each_member_that_writes() -> None:
    task = make()
    assert {shown.member for shown in task.prompts(2)} == {"text"}
    assert task.of("text").question("abc") == [*b"abc"]
    assert task.first_try == "predict {run} member=topics input.text=..."


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"topics": 1}, "task.weights has none for text: set task.weights.text, 0 for none."),
        ({"topics": 1, "text": -1}, "task.weights.text=-1: set a number of at least 0."),
        ({"topics": 1, "texts": 1}, "task.weights.texts=1: there is no member texts. Did you mean 'text'? There are: "),
        ({"topics": 0, "text": 0}, "task.weights are all 0"),
    ],
)
def test_weights_that_are_no_shares(weights: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught:
        make(weights)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "task.members is empty: a mixture needs two tasks at least. Add them, e.g. +task@task.members.topics="),
        (["one"], "task.members has one alone"),
        (
            ["one", "values"],
            "task.members.values: this cannot be the name of a member. Choose another, e.g. values_task.",
        ),
    ],
)
def test_names_that_are_none(names: list[str], text: str) -> None:
    with pytest.raises(UserError) as caught:
        check_names(names)
    assert text in str(caught.value)
