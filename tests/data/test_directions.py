"""Guards: an exchanged row that keeps the other's references or language, and a pair that is in train one way and in test the
other."""

from __future__ import annotations

from typing import Any

import pytest

from manyheads.data.derived import Derived
from manyheads.data.directions import Directed, Direction
from manyheads.errors import UserError
from manyheads.task.translation import Translation
from manyheads.testing import Rows

ROWS = [{"source": "Hund", "target": "dog"}, {"source": "Katze", "target": "cat"}]


def directed(
    direction: Direction, rows: list[dict[str, Any]] = ROWS, languages: list[str] | None = None, **more: Any
) -> Directed:
    source = Rows({"train": rows, "validation": rows, "test": rows, **more})
    source.ask(Translation.fields)
    return Directed(source, direction, languages)


def columns(direction: Direction, *args: Any) -> dict[str, list[Any]]:
    return directed(direction, *args).rows("test")[:]


def test_forward_is_the_rows_as_they_are() -> None:
    assert columns("forward") == {"source": ["Hund", "Katze"], "target": ["dog", "cat"]}
    assert directed("forward").notes == []


def test_backward_exchanges_texts_and_languages_and_leaves_references_out() -> None:
    rows = [{**ROWS[0], "source_language": "de", "target_language": "en", "references": ["dog", "hound"]}]
    assert columns("backward", rows) == {
        "source": ["dog"], "target": ["Hund"], "source_language": ["en"], "target_language": ["de"],
    }  # fmt: skip
    assert directed("backward", rows).notes == ["task.direction=backward: source and target change places"]


def test_both_is_all_rows_one_way_and_then_all_the_other() -> None:
    rows = [{**row, "references": [row["target"], "x"]} for row in ROWS]
    assert columns("both", rows, ["de", "en"]) == {
        "source": ["Hund", "Katze", "dog", "cat"],
        "target": ["dog", "cat", "Hund", "Katze"],
        "references": [["dog", "x"], ["cat", "x"], None, None],
        "source_language": ["de", "de", "en", "en"],
        "target_language": ["en", "en", "de", "de"],
    }
    assert directed("both", rows, ["de", "en"]).notes == ["task.direction=both: each row is two examples, one each way"]


def test_both_of_rows_that_say_their_languages() -> None:
    rows = [{**ROWS[0], "source_language": "de", "target_language": "fr"}]
    found = columns("both", rows)
    assert (found["source_language"], found["target_language"]) == (["de", "fr"], ["fr", "de"])


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_rows_that_only_ask_stay_as_they_are(direction: Direction) -> None:
    inner = Rows({"test": [{"source": "dog"}]})
    inner.ask(Translation.asked)
    found = Directed(inner, direction, ["de", "en"]).rows("test")[:]
    assert found["source"] == ["dog"]
    assert found.get("target_language", ["en"]) == ["en"]


def test_both_ways_of_a_row_are_in_one_split_also_where_it_is_cut() -> None:
    inner = Rows({"train": [{"source": f"s{i}", "target": f"t{i}"} for i in range(60)]}, validation_fraction=0.1)
    inner.ask(Translation.fields)
    found = Directed(inner, "both", ["a", "b"])
    seen: set[str] = set()
    for split in ("train", "validation", "test"):
        rows = found.rows(split)[:]
        assert set(rows["source"]) == set(rows["target"])
        assert len(rows["source"]) == 2 * len(inner.rows(split))
        assert not seen & set(rows["source"])
        seen |= set(rows["source"])
    assert len(seen) == 120
    assert found.fingerprint == inner.fingerprint


def test_texts_of_two_arrow_types_become_one_column() -> None:
    from datasets import Dataset, Features, Value

    class Mixed(Derived):
        def load(self, split: str) -> Dataset:
            kinds = Features({"source": Value("large_string"), "target": Value("string")})
            return Dataset.from_list(ROWS, features=kinds)

    found = Directed(Mixed(Rows({"train": ROWS})), "both", ["de", "en"]).rows("test")
    assert found["source"][:] == ["Hund", "Katze", "dog", "cat"]


def test_a_row_cannot_be_exchanged_without_the_language_that_it_comes_from() -> None:
    rows = [{**ROWS[0], "target_language": "en"}]
    with pytest.raises(UserError, match=r"target_language and no source_language.*Set data\.columns\.source_language"):
        columns("backward", rows)
