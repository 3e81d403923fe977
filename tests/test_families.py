"""Guards: a table that says other than what train refuses, a no without its reason, and a page that is out of date."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from manyheads import compatibility
from manyheads.build import CONF_DIR
from manyheads.errors import UserError
from manyheads.families import PAGE, Families, families, families_main, page, tables
from manyheads.run.compose import compose

ROOT = Path(__file__).parents[1]
Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def found() -> Families:
    return families()


def stems(group: str) -> set[str]:
    return {path.stem for path in (CONF_DIR / group).glob("*.yaml")}


def test_every_task_stands_with_every_head_and_network(found: Families) -> None:
    asked = {(one.task, one.head, one.model) for one in found.members}
    assert asked == {(t, h, m) for t in stems("task") for h in stems("head") for m in stems("model")}
    assert len(found.members) == len(asked) > 50


def test_every_no_has_its_reason_and_every_task_a_yes(found: Families) -> None:
    assert all((one.reason is None) == one.works for one in found.members)
    assert all(len(one.reason.split()) >= 4 for one in found.members if one.reason)
    assert {one.task for one in found.members if one.works} == stems("task")
    assert {one.head for one in found.members if one.works} == stems("head")


def test_what_a_task_takes_alone_works(found: Families) -> None:
    """`python train.py task=NAME` must not be refused."""
    works = {(one.task, one.head, one.model) for one in found.members if one.works}
    assert {(task, *pair) for task, pair in found.alone.items()} <= works
    assert found.alone["generation"] == ("next_token", "tiny")
    assert found.alone["classification"] == ("label", "encoder")


@pytest.mark.slow
def test_train_refuses_what_the_table_does(found: Families) -> None:
    """One of each task, head and kind of network goes through the check that train makes."""
    tried = {(one.task, one.head, one.kind): one for one in found.members if not one.model.startswith("llama")}
    for one in tried.values():
        if one.task == "mixture" and one.works:
            continue  # it depends on the members: tests/test_members.py
        words = [f"task={one.task}", f"head={one.head}", f"model={one.model}", "optim=adamw"]
        config, choices = compose("train", words, CONF_DIR)
        if one.works:
            compatibility.check(config, choices)
            continue
        with pytest.raises(UserError) as caught:
            compatibility.check(config, choices)
        assert one.reason is not None
        of_head = one.reason.startswith(f"task={one.task} is learned with ")
        told = f"head={one.head} does not fit task={one.task}. Set " if of_head else one.reason
        assert told in str(caught.value)


def test_a_few_by_hand(found: Families) -> None:
    by = {(one.task, one.head, one.model): one for one in found.members}
    assert by["generation", "next_token", "gpt2"].works
    assert by["translation", "next_token", "encoder_decoder"].works
    assert by["classification", "label", "bert"].works
    assert by["generation", "next_token", "bert"].reason == (
        "head=next_token needs causal or counting or encoder-decoder: its positions see the token that comes next"
    )
    assert by["generation", "label", "tiny"].reason == ("task=generation is learned with head=next_token")


def test_the_page_is_what_the_code_gives(found: Families) -> None:
    """A task, a head or a network that was added without `manyheads families --markdown`."""
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(found)


@pytest.mark.slow
def test_as_json_and_on_the_screen(capsys: Out, found: Families) -> None:
    assert families_main(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["families"]) == len(found.members)
    assert told["alone"]["classification"] == {"head": "label", "model": "encoder"}
    assert families_main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*stems("task"), *stems("head"), *stems("model")))


@pytest.mark.slow
def test_a_page_goes_where_it_is_wanted(tmp_path: Path, found: Families) -> None:
    assert families_main(["--markdown", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page(found)
    with pytest.raises(UserError, match="there is no folder"):
        families_main(["--markdown", str(tmp_path / "no" / "page.md")])


def test_choices_of_ones_own_stand_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    example = ROOT / "examples" / "own_task"
    monkeypatch.syspath_prepend(str(example))
    own = families(str(example / "conf"), ["sentences"])
    assert own.alone["sentences"] == ("label", "encoder")
    assert own.heads("sentences", "causal") == ["label"]
    with pytest.raises(UserError, match=r"add allow=\[sentences\]"):
        families(str(example / "conf"))


def test_no_name_is_cut_on_a_terminal_of_80_columns() -> None:
    out = io.StringIO()
    for table in tables(families()):
        Console(file=out, width=80, highlight=False).print(table)
    assert "…" not in out.getvalue()
    assert "encoder_decoder" in out.getvalue()
