"""Guards: a yaml of a data set whose columns or labels are not those of its files. The rows are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pytest
from omegaconf import DictConfig, OmegaConf

from manyheads.build import CONF_DIR, build, check_tree
from manyheads.data.fields import Fields
from manyheads.run.compose import compose
from manyheads.task.classification import Classification
from manyheads.task.summarization import Summarization
from manyheads.task.translation import Translation

QUESTION = {
    "id": "1", "title": "shop.example", "context": "We keep your name.", "question": "What is kept?",
    "answers": {"text": ["your name"], "answer_start": [8]},
}  # fmt: skip
TURNS = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hello."}]
TWO, THREE = ("train", "test"), ("train", "validation", "test")


class Set(NamedTuple):
    """A data set: its hub name, a row as its files have it, and what a task gets of it."""

    name: str | None
    fields: Fields
    row: dict[str, Any]
    becomes: dict[str, Any]
    splits: tuple[str, ...] = THREE
    labels: list[str] | None = None


SETS = {
    "ag_news": Set(
        "fancyzhx/ag_news", Classification.fields, {"text": "Rain stops play.", "label": 1},
        {"text": "Rain stops play.", "label": 1}, TWO, ["World", "Sports", "Business", "Sci/Tech"],
    ),
    "movie_reviews": Set(
        "cornell-movie-review-data/rotten_tomatoes", Classification.fields, {"text": "a joy .", "label": 1},
        {"text": "a joy .", "label": 1}, THREE, ["negative", "positive"],
    ),
    "multi30k": Set(
        "bentrevett/multi30k", Translation.fields, {"en": "A dog runs.", "de": "Ein Hund läuft."},
        {"source": "Ein Hund läuft.", "target": "A dog runs."},
    ),
    "policyqa": Set(
        "alzoubi36/policy_qa", Fields(("context", "question"), ("answers", "id")), QUESTION,
        {name: QUESTION[name] for name in ("context", "question", "answers", "id")}, ("train", "validation"),
    ),
    "scitldr": Set(
        None, Summarization.fields, {"document": "We do it.", "summary": "Done.", "references": ["Done.", "It is done."]},
        {"document": "We do it.", "summary": "Done.", "references": ["Done.", "It is done."]},
    ),
    "small_talk": Set(
        None, Fields(("messages.content",)), {"topic": "greetings", "messages": TURNS}, {"messages": TURNS}
    ),
    "thucnews": Set(
        None, Classification.fields, {"text": "今天下雨", "label": "society"}, {"text": "今天下雨", "label": "society"}, TWO
    ),
}  # fmt: skip


def test_every_yaml_of_a_data_set_is_here() -> None:
    """A glob that finds nothing, or one more than these, would pass unseen."""
    general = {"csv", "hub", "json", "mixture", "parquet", "pydocs", "recall", "text"}
    assert {path.stem for path in (CONF_DIR / "data").glob("*.yaml")} - general == set(SETS)


@pytest.mark.parametrize("choice", sorted(SETS))
def test_a_folder_with_a_copy_is_read_by_the_same_yaml(choice: str, tmp_path: Path) -> None:
    of = SETS[choice]
    for split in of.splits:
        # enough of them with texts of their own, where a split is cut from train by the text
        first = next(iter(of.row))
        more = [{**of.row, first: f"{of.row[first]} {number}"} for number in range(60 if of.splits == TWO else 0)]
        datasets.Dataset.from_list([of.row, *more]).to_parquet(tmp_path / f"{split}.parquet")
    config = compose("train", [f"data={choice}", f"data.name={tmp_path}"], CONF_DIR).config
    check_tree(config)
    source = build(config.data, "data")
    source.ask(of.fields)
    assert source.given == tuple(split for split in THREE if split in {*of.splits, "test"})
    assert source.rows("test")[0] == of.becomes
    if of.labels:
        assert source.rows("train").features["label"].names == of.labels


@pytest.mark.parametrize("choice", sorted(SETS))
def test_the_yaml_names_the_hubs_data_set_or_asks_for_a_folder(choice: str) -> None:
    found = OmegaConf.load(CONF_DIR / "data" / f"{choice}.yaml")
    assert isinstance(found, DictConfig)
    assert found.get("name") == SETS[choice].name
