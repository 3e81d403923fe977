"""Guards a class that is read off otherwise than its text is likely, settings that a head cannot follow, and a run whose
table has no baselines."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.batch import IGNORE, Batch
from manyheads.errors import UserError
from manyheads.lm import LM
from manyheads.model.encoder_decoder import EncoderDecoder
from manyheads.task.classification import Classification
from manyheads.testing import Rows, byte_tokenizer, scripted, tiny_network

END = byte_tokenizer().end_id
ROWS = [
    {"text": "good", "label": "a"},
    {"text": "bad one", "label": "ab"},
    {"text": "fine", "label": "a"},
    {"text": "x", "label": "c"},
]


def make(
    rows: list[dict[str, Any]] = ROWS, kind: str = "causal", reads: str = "labels", **settings: Any
) -> Classification:
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Classification.fields)
    return Classification(source=source, tokenizer=byte_tokenizer(), seed=1, kind=kind, reads=reads, **settings)


def logits(read: list[int]) -> list[float]:
    """Any numbers that depend on all that was read."""
    draw = random.Random(str(read))
    return [draw.gauss(0, 2) for _ in range(END + 1)]


def nats(prompt: list[int], target: list[int]) -> float:
    """Of a target after a prompt, one token after the other."""
    total = 0.0
    for place, token in enumerate(target):
        values = np.array(logits([*prompt, *target[:place]]))
        total += math.log(np.exp(values).sum()) - values[token]
    return total


def outputs(task: Classification, network: torch.nn.Module, head: Any) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    with torch.inference_mode():
        for batch in task.test_dataloader():
            read = task.read(network, head, batch, network(batch))
            found.update(zip(batch["examples"].tolist(), read, strict=True))
    return found


def test_the_probability_of_a_class_is_that_of_its_text_and_end_among_all() -> None:
    """ "a" is the beginning of "ab": only their ends tell them apart."""
    task = make(prompt="<{text}>", batch_size=3)
    found = outputs(task, *scripted(logits, END + 1))
    for number, row in enumerate(ROWS):
        prompt = [END, *f"<{row['text']}>".encode()]
        chances = np.exp([-nats(prompt, [*name.encode(), END]) for name in ("a", "ab", "c")])
        assert found[number] == pytest.approx((chances / chances.sum()).tolist(), rel=1e-5)


def test_only_the_class_and_its_end_are_learned() -> None:
    task = make(prompt="{text}=", verbalizers={"ab": "no"}, batch_size=4, shuffle=False)
    (batch,) = list(task.training_loader())
    rows = {tuple(ids[mask].tolist()) for ids, mask in zip(batch["input_ids"], batch["labels"] != IGNORE, strict=True)}
    learned = [[token for token in row if token != IGNORE] for row in batch["labels"].tolist()]
    assert sorted(learned) == sorted([[*b"a", END], [*b"no", END], [*b"a", END], [*b"c", END]])
    assert rows == {tuple(b"=a"), tuple(b"=no"), tuple(b"=c")}


@pytest.mark.parametrize("kind", ["causal", "encoder-decoder"])
def test_probabilities_do_not_depend_on_the_batch_size(kind: str) -> None:
    network, head = tiny_network(END + 1)
    if kind == "encoder-decoder":
        torch.manual_seed(1)
        network = EncoderDecoder(
            vocab_size=END + 1, dim=16, num_encoder_layers=1, num_layers=1, num_heads=2, init_std=0.5
        )
    network = network.eval()
    alone, *others = (outputs(make(kind=kind, eval_batch_size=size), network, head) for size in (1, 3, 4))
    for other in others:
        assert other.keys() == alone.keys()
        for example, values in other.items():
            assert values == pytest.approx(alone[example], rel=1e-4)


def test_an_encoder_reads_the_text_and_the_decoder_writes_the_class() -> None:
    torch.manual_seed(1)
    network = EncoderDecoder(
        vocab_size=END + 1, dim=16, num_encoder_layers=1, num_layers=1, num_heads=2, init_std=0.5
    ).eval()
    head = tiny_network(END + 1)[1]
    found = outputs(make(kind="encoder-decoder"), network, head)
    with torch.inference_mode():
        losses = []
        for name in ("a", "ab", "c"):
            batch = Batch(
                source_ids=torch.tensor([[*b"bad one", END]]),
                input_ids=torch.tensor([[END, *name.encode()]]),
                labels=torch.tensor([[*name.encode(), END]]),
            )
            losses.append(head.losses(network(batch), batch).sum())
    assert found[1] == pytest.approx((-torch.stack(losses)).softmax(-1).tolist(), rel=1e-4)


def test_rows_without_a_label_can_be_asked() -> None:
    task = make()
    columns = task.encode({"text": ["good"]})
    assert columns["target"] == [[]]
    batch = task.collate(True)({name: [np.array(row, np.int32) for row in rows] for name, rows in columns.items()})
    network, head = scripted(logits, END + 1)
    assert sum(task.read(network, head, batch, network(batch))[0]) == pytest.approx(1)


def test_it_scores_as_a_head_of_classes_does() -> None:
    task = make()
    network, head = tiny_network(END + 1)
    module = LM(network=network, head=head, metrics=task.metrics, outputs=task.outputs).eval()
    found = task.scores("test", outputs(task, module.network, module.head))
    assert set(found) == {metric.name for metric in Classification.output_metrics}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"verbalizers": {"a": "same", "c": "same"}}, "task.verbalizers: a is written 'same' and c 'same'"),
        ({"verbalizers": {"a": "ab"}}, "task.verbalizers: a is written 'ab' and ab 'ab'"),
        ({"verbalizers": {"d": "x"}}, "task.verbalizers: d is none of the classes"),
        ({"verbalizers": {"a": ""}}, "task.verbalizers: a is written ''. Set a text"),
        ({"prompt": "no place"}, "task.prompt=no place: write {text} once"),
        ({"balance": "balanced"}, "task.balance=balanced: the head has no weights for classes. Set head=label"),
        ({"reads": "classes", "verbalizers": {"a": "x"}}, "task.verbalizers: a head of classes writes no text."),
    ],
)
def test_what_a_head_cannot_do_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        make(**settings)
    assert said in str(caught.value)


def test_several_labels_are_refused() -> None:
    with pytest.raises(UserError, match="head=next_token writes one class for a row, and the column label holds lists"):
        make([{"text": "x", "label": ["a", "b"]}, {"text": "y", "label": ["a"]}])


def test_a_run_leaves_the_confusion_matrix_and_the_baselines(cli: Callable[..., Any], tmp_path: Path) -> None:
    """Of classes that their texts spell out: the matrix counts the test rows, and naive Bayes is right on all of them."""
    (tmp_path / "rows").mkdir()
    for split in ("train", "validation", "test"):
        rows = [{"text": f"{label} {i}", "label": label} for i in range(6) for label in ("cat", "dog")]
        lines = [json.dumps(row) for row in (rows[:-1] if split == "train" else rows)]
        (tmp_path / "rows" / f"{split}.jsonl").write_text("\n".join(lines))
    words = ["data=json", f"data.path={tmp_path / 'rows'}", "task=classification", "head=next_token", "model=tiny", "tokenizer=byte",
             "model.dim=16", "model.num_layers=1", "model.num_heads=2", "trainer.max_steps=2", "logger=csv",
             "++optim.warmup_steps=0", "optim.lr=0.0"]  # fmt: skip
    done = cli("train", *words)
    assert done.code == 0, done.err
    found = done.results["baselines"]
    assert list(found) == ["majority", "naive_bayes_words", "naive_bayes_characters"]
    assert found["majority"]["accuracy"] == 0.5
    assert found["naive_bayes_words"]["accuracy"] == 1.0
    assert "naive bayes words" in done.out
    assert "below its baseline" in done.out
    page = (done.folder / "predictions" / "confusion.html").read_text()
    assert "Confusion matrix" in page
    assert "<script src" not in page
    assert cli("eval", f"run={done.folder}").out.count("below its baseline") == 1
    off = cli("train", *words, "baselines=false")
    assert off.results["baselines"] == {}
    assert "majority" not in off.out
    assert off.results["test"] == done.results["test"]


def test_baselines_of_several_labels_have_the_scores_that_several_labels_have() -> None:
    """A correlation and a calibration are of one class for each row, and would fail here."""
    rows = [{"text": "x y", "label": ["a", "b"]}, {"text": "y", "label": ["b"]}, {"text": "z", "label": []}]
    found = make(rows, reads="classes").baselines("test")
    assert set(found["naive_bayes_words"]) == {"accuracy", "macro_f1", "micro_f1", "auroc"}
    assert found["naive_bayes_words"]["auroc"] == 1.0
    assert found["majority"]["auroc"] == 0.5
