"""Guards: source and target that change places, a tag of the wrong language, and scores that are not the official ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.batch import IGNORE
from manyheads.errors import UserError
from manyheads.run.folder import parse_config
from manyheads.task.base import Scored
from manyheads.task.layouts import LAYOUTS
from manyheads.task.translation import Translation
from manyheads.testing import Rows, byte_tokenizer
from manyheads.tokenizer.bpe import bpe

END = byte_tokenizer().end_id
PAIR = [{"source": "Hund", "target": "dog"}]
MANY = [
    {"source": "Hund", "target": "dog", "source_language": "de", "target_language": "en"},
    {"source": "chien", "target": "Hund", "source_language": "fr", "target_language": "de"},
    {"source": "Maus", "target": "mouse", "source_language": "de", "target_language": "en"},
]


def make(rows: list[dict[str, Any]] = PAIR, kind: str = "encoder-decoder", **settings: Any) -> Translation:
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Translation.fields)
    settings = {"tokenizer": byte_tokenizer(), "num_beams": 1, "eval_batch_size": 1, **settings}
    return Translation(source=source, seed=1, kind=kind, **settings)


def read(task: Translation, name: str = "source_ids") -> list[list[int]]:
    """What the network is given of each example, in order."""
    batches = {int(batch["examples"]): batch for batch in task.test_dataloader()}
    return [batches[example][name][0].tolist() for example in sorted(batches)]


def test_the_target_is_learned_from_the_source_and_scored_as_sacrebleu_does() -> None:
    task = make()
    rows = task.source.rows("test")[:]
    assert (task.inputs(rows), task.targets(rows)) == (["Hund"], [["dog"]])
    assert [metric.name for metric in task.scorers()] == ["bleu", "chrf"]
    assert task.monitor == "val/bits_per_byte"
    assert (task.tokenizer.vocab_size, task.found) == (END + 1, {})


def test_backward_learns_the_source_from_the_target_without_a_tag() -> None:
    task = make(direction="backward", languages=["de", "en"])
    assert read(task) == [[*b"dog", END]]
    assert read(task, "labels") == [[*b"Hund", END]]
    assert task.tokenizer.vocab_size == END + 1


def test_both_directions_are_two_examples_with_the_tag_of_their_target() -> None:
    task = make(direction="both", languages=["de", "en"])
    de, en = END + 1, END + 2
    assert read(task) == [[en, *b"Hund", END], [de, *b"dog", END]]
    assert read(task, "labels") == [[*b"dog", END], [*b"Hund", END]]
    assert task.inputs(task.source.rows("test")[:]) == ["Hund", "dog"]
    assert task.describe()["train"]["rows"] == 2


def test_without_an_encoder_the_tag_stands_in_the_prompt_before_the_source() -> None:
    task = make(kind="causal", direction="both", languages=["de", "en"], prompt="to {source}=")
    assert read(task, "input_ids")[0] == [END, *b"to ", END + 2, *b"Hund=dog"]


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
def test_the_tag_is_not_of_the_sources_length(kind: str) -> None:
    """A limit would cut the last token of each source for the tag's sake."""
    task = make(kind=kind, direction="both", languages=["de", "en"], max_source_tokens=4, max_target_tokens=5)
    task.prepare()
    assert not [note for note in task.notes if "longer than" in note]


def test_rows_say_from_which_language_into_which() -> None:
    task = make(MANY)
    assert (task.languages, task.found) == (["de", "en", "fr"], {"task": {"languages": ["de", "en", "fr"]}})
    de, en, _ = range(END + 1, END + 4)
    assert [row[0] for row in read(task)] == [en, de, en]
    assert [row[0] for row in read(make(MANY, direction="both"))] == [en, de, en, de, END + 3, de]


def test_the_tokenizer_of_a_checkpoint_has_the_tags_already() -> None:
    first = make(direction="both", languages=["de", "en"])
    again = make(direction="both", languages=["de", "en"], tokenizer=first.tokenizer)
    assert again.tokenizer is first.tokenizer
    assert read(again) == read(first)


def test_each_of_several_directions_has_scores_of_its_own() -> None:
    task = make(MANY)
    outputs = {0: "dog", 1: "falsch und mehr", 2: "mouse"}
    parts = task.by_source("test", Scored({}, {}, outputs))
    alone = make(MANY[1:2]).scores("test", {0: outputs[1]})
    assert sorted(parts) == ["bleu/de-en", "bleu/fr-de", "chrf/de-en", "chrf/fr-de"]
    assert parts["chrf/de-en"] == pytest.approx(100)
    assert parts["chrf/fr-de"] == pytest.approx(alone["chrf"])
    assert parts["chrf/fr-de"] < 50


def test_one_direction_has_no_parts() -> None:
    for task in (make(), make(MANY[:1])):
        assert task.by_source("test", Scored({}, {}, {0: "dog"})) == {}
    said = [{name: value for name, value in row.items() if name != "source_language"} for row in MANY]
    parts = make(said).by_source("test", Scored({}, {}, {0: "dog", 1: "Hund", 2: "mouse"}))
    assert sorted(parts) == ["bleu/de", "bleu/en", "chrf/de", "chrf/en"]


def test_references_may_be_several_and_of_unequal_number() -> None:
    """As sacrebleu scores them, held to its own command line's order of streams."""
    from sacrebleu.metrics.bleu import BLEU

    rows = [
        {
            "source": "a",
            "target": "one two three four",
            "references": ["one two three four five", "one two three five"],
        },
        {"source": "b", "target": "six seven eight nine", "references": ["six seven nine eight"]},
    ]
    outputs = ["one two three five four", "six seven eight nine"]
    streams = [["one two three four five", "six seven nine eight"], ["one two three five", None]]
    task = make(rows)
    expected = BLEU().corpus_score(outputs, streams)
    assert task.scores("test", dict(enumerate(outputs)))["bleu"] == pytest.approx(expected.score)
    assert 0 < expected.score < 100


def test_scores_leave_the_signatures_of_how_they_were_computed() -> None:
    task = make(references(2))
    task.scores("test", {0: "dog"})
    assert task.signatures["test"]["bleu"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert task.signatures["test"]["chrf"].startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def references(count: int) -> list[dict[str, Any]]:
    return [{**PAIR[0], "references": ["dog"] * count}]


def test_a_row_that_only_asks_is_tagged_with_the_language_of_targets() -> None:
    source = Rows({"test": [{"source": "Hund"}]})
    source.ask(Translation.asked)
    task = Translation(
        source=source, tokenizer=byte_tokenizer(), seed=1, kind="encoder-decoder", direction="both",
        languages=["de", "en"],
    )  # fmt: skip
    (batch,) = task.test_dataloader()
    assert batch["source_ids"].tolist() == [[END + 2, *b"Hund", END]]
    assert (batch["labels"] == IGNORE).all()


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (
            PAIR,
            {"direction": "both"},
            r"task\.direction=both: tags need the names.*Set e\.g\. task\.languages=\[de,en\]",
        ),
        (PAIR, {"languages": ["de"]}, r"task\.languages=\[de\]: set two names"),
        (PAIR, {"languages": ["de", "de"]}, r"task\.languages=\[de,de\]: set two names"),
        (PAIR, {"direction": "bothh"}, r"task\.direction=bothh"),
        (
            MANY,
            {"languages": ["de", "en"], "direction": "both"},
            r"target_language fr is none of task\.languages=\[de,en\]",
        ),
        ([MANY[0], {**MANY[1], "target_language": None}], {}, r"a row of train has no target_language\."),
    ],
)
def test_what_cannot_be_told_is_asked_for(rows: list[dict[str, Any]], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(rows, **settings).prepare()


@pytest.mark.slow
def test_a_run_both_ways_keeps_its_tags_and_says_how_it_scored(cli: Callable[..., Any], tmp_path: Path) -> None:
    """Trained, evaluated from its checkpoint, and the same figures."""
    (tmp_path / "pairs").mkdir()
    for split in ("train", "validation", "test"):
        rows = [{"de": f"{split} {word}", "en": f"{word} {split}"} for word in ("eins", "zwei", "drei")]
        (tmp_path / "pairs" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = cli(
        "train", "task=translation", "model=encoder_decoder", "data=json", "data.path=pairs", "logger=csv",
        "+data.columns={source: de, target: en}", "task.direction=both", "task.languages=[de,en]", "tokenizer=byte",
        "model.dim=16", "model.num_encoder_layers=1", "model.num_layers=1", "trainer.max_steps=2", "task.num_beams=2",
        "task.max_target_tokens=8", "task.batch_size=2", "++callbacks.sample_tokens=4",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    results = done.results
    assert {"bleu", "chrf", "bleu/de-en", "bleu/en-de"} <= set(results["test"])
    assert results["signatures"]["test"] == results["signatures"]["val"]
    assert f"bleu (val, test): {results['signatures']['test']['bleu']}" in done.out
    content = torch.load(done.folder / "checkpoints" / "best.ckpt", weights_only=True)["manyheads"]
    assert "<|2de|>" in content["tokenizer"]
    assert list(parse_config(content["config"], "checkpoint")[0].task.languages) == ["de", "en"]
    lines = [json.loads(line) for line in (done.folder / "predictions/test.jsonl").read_text().splitlines()]
    assert [line["input"] for line in lines] == [
        *(f"test {word}" for word in ("eins", "zwei", "drei")),
        *(f"{word} test" for word in ("eins", "zwei", "drei")),
    ]
    again = cli("eval", f"run={done.folder}", "to=figures.json")
    assert (again.code, again.err) == (0, "")
    assert json.loads((tmp_path / "figures.json").read_text())["test"] == results["test"]
    assert f"bleu (val, test): {results['signatures']['test']['bleu']}" in again.out


def test_dropped_merges_change_what_is_trained_on_and_nothing_else() -> None:
    rows = [{"source": f"der Hund {i} der Hund", "target": f"the dog {i} the dog"} for i in range(12)]
    tokenizer = bpe(
        source=Rows({"train": [row["source"] + row["target"] for row in rows] * 3, "test": ["t"]}), vocab_size=280
    )
    plain, drawn = (make(rows, tokenizer=tokenizer, batch_size=4, bpe_dropout=rate) for rate in (0.0, 0.5))

    def texts(task: Translation, epoch: int = 0) -> list[list[tuple[str, str, int]]]:
        loader = task.training_loader()
        loader.order.set_epoch(epoch)  # type: ignore[union-attr]
        return [
            sorted(
                (tokenizer.decode(source), tokenizer.decode([t for t in labels if t != IGNORE]), len(labels))
                for source, labels in zip(batch["source_ids"].tolist(), batch["labels"].tolist(), strict=True)
            )
            for batch in loader
        ]

    first, again, later = texts(drawn), texts(drawn), texts(drawn, epoch=1)
    assert first == again
    assert sorted(pair[:2] for batch in first for pair in batch) == sorted((r["source"], r["target"]) for r in rows)
    assert max(pair[2] for batch in first for pair in batch) > max(pair[2] for batch in texts(plain) for pair in batch)
    assert first != later
    assert read(drawn, "labels") == read(plain, "labels")


def test_a_cut_that_would_be_too_long_is_left_as_it_was() -> None:
    rows = [{"source": "the dog the dog", "target": "the dog the dog"}] * 8
    tokenizer = bpe(source=Rows({"train": ["the dog the dog"], "validation": ["v"], "test": ["t"]}), vocab_size=259)
    length = len(tokenizer.encode("the dog the dog"))
    task = make(
        rows, tokenizer=tokenizer, batch_size=8, bpe_dropout=0.9, max_source_tokens=length, max_target_tokens=length + 1
    )
    [batch] = task.training_loader()
    assert batch["source_ids"].tolist() == [[*tokenizer.encode("the dog the dog"), tokenizer.end_id]] * 8
    assert batch["labels"].shape == (8, length + 1)
