"""Guards: a name that people type or read changes unnoticed, in a yaml, a signature, results.json or a flag.

`public_surface.txt` beside this file holds every such name, one a line. After a change that is meant, and told in
CHANGELOG.md, it is written anew with `python tests/test_public_surface.py`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

import manyheads
from manyheads import cli
from manyheads.build import CONF_DIR, resolve_target
from manyheads.chat import chat
from manyheads.decoding.options import Options
from manyheads.decoding.reply import ReplyOptions
from manyheads.families import make_parser as families_parser
from manyheads.generate import generate
from manyheads.load import LoadedLM, Score, load
from manyheads.run.completion import VERBS
from manyheads.run.compose import compose
from manyheads.run.results import Results, RunRecord
from manyheads.run.runs import make_parser
from manyheads.signature import parameters, plain_defaults
from manyheads.train import from_overrides

FROZEN = Path(__file__).with_name("public_surface.txt")
TOLD = """\
Names that people type or read have changed (- gone, + new):
{changes}
If that is meant, say so in CHANGELOG.md, then run: python tests/test_public_surface.py"""

NUMBERS = TOLD.format(changes="(numbers of a run, see below)")

PROMISED = """
    task= data= tokenizer= model= head= optim= trainer= callbacks= logger= experiment= sweep= debug=
    seed resume run checkpoint init stride compile deterministic name tags allow input to
    data.path data.name data.text_column data.validation_fraction tokenizer.vocab_size
    model.dim model.num_layers model.num_heads optim.lr
    trainer.max_steps trainer.max_epochs trainer.max_minutes trainer.max_tokens trainer.devices
    trainer.precision trainer.accumulate_grad_batches trainer.log_every_n_steps
    task.batch_size task.seq_len task.pack callbacks.monitor
"""


def surface() -> list[str]:
    """Every public name that can be found without training."""
    return sorted(
        {
            *(f"verb {verb}" for verb in cli.VERBS),
            *(f"flag families {flag}" for action in families_parser()._actions for flag in action.option_strings),
            *(f"flag runs {flag}" for action in make_parser()._actions for flag in action.option_strings),
            *(f"python manyheads.{name}" for name in manyheads.__all__),
            *(f"python manyheads.load({name})" for name in parameters(load)),
            *(f"python manyheads.train({name})" for name in parameters(from_overrides)),
            *(f"python lm.{name}" for name in _members(LoadedLM)),
            *(f"python lm.generate({name})" for name in Options.__dataclass_fields__),
            *(f"python lm.chat({name})" for name in ReplyOptions.__dataclass_fields__),
            *(f"python lm.score().{name}" for name in _members(Score)),
            *(f"key generate {name}" for name in (*parameters(generate), *Options.__dataclass_fields__)),
            *(f"key chat {name}" for name in (*parameters(chat), *ReplyOptions.__dataclass_fields__)),
            *(f"key {verb} {key}" for verb in ("train", "eval", "predict", "generate", "chat") for key in _keys(verb)),
            *_choices(),
            *_of_schema("results.json", Results, skip=("val", "test", "perf", "run", "directions")),
            *_of_schema("results.json run/", RunRecord),
            *(f"config train {key}" for key in _leaves(compose("train", [], CONF_DIR).config)),
            *(f"config eval {key}" for key in _leaves(compose("eval", [], CONF_DIR).config)),
        }
    )


def _members(kind: type) -> Iterator[str]:
    fields = getattr(kind, "_fields", ())
    own = (name for name in vars(kind) if not name.startswith("_"))
    attributes = (name for name in inspect.signature(kind).parameters) if not fields else ()
    return iter({*fields, *own, *attributes})


def _keys(verb: str) -> list[str]:
    return [str(key) for key in OmegaConf.to_container(OmegaConf.load(CONF_DIR / f"{verb}.yaml")) if key != "defaults"]


def _choices() -> Iterator[str]:
    """Each choice of each group, the target of its yaml, and the settings that the target takes from a yaml."""
    for path in sorted(CONF_DIR.glob("*/*.yaml")):
        group, choice = path.parent.name, path.stem
        if group == "hydra":
            continue
        yield f"choice {group}={choice}"
        content = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(content, dict)
        for place, node in {group: content, **{f"{group}.{key}": value for key, value in content.items()}}.items():
            if isinstance(node, dict) and "_target_" in node:
                target = resolve_target(node["_target_"], place)
                yield f"target {group}={choice} {node['_target_']}"
                known = parameters(target)
                for name in {*node, *plain_defaults(target)} & known.keys():
                    yield f"setting {place}.{name} of {node['_target_']}"


def _of_schema(prefix: str, schema: Any, skip: Iterable[str] = ()) -> Iterator[str]:
    yield from (f"{prefix} {name}".replace("/ ", "/") for name in schema.__annotations__ if name not in skip)


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        value = node._get_node(str(key))
        if isinstance(value, DictConfig) and not value._is_none():
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def changes(now: list[str], frozen: list[str]) -> str:
    """The lines that are gone and that are new."""
    lines = list(difflib.unified_diff(frozen, now, lineterm="", n=0))[2:]
    return "\n".join(line for line in lines if not line.startswith("@@"))


def check(now: list[str], frozen: list[str]) -> None:
    found = changes(now, frozen)
    if found:
        pytest.fail(TOLD.format(changes=found), pytrace=False)


def test_no_public_name_changes_unnoticed() -> None:
    check(surface(), FROZEN.read_text(encoding="utf-8").splitlines())


def test_a_renamed_choice_is_told_with_what_to_do() -> None:
    """The check itself: a name that goes and one that comes are both in the text."""
    frozen = FROZEN.read_text(encoding="utf-8").splitlines()
    now = [line.replace("choice data=hub", "choice data=hf") for line in frozen]
    with pytest.raises(pytest.fail.Exception) as caught:
        check(now, frozen)
    assert "-choice data=hub\n+choice data=hf\n" in str(caught.value)
    assert "say so in CHANGELOG.md" in str(caught.value)


@pytest.mark.parametrize("name", PROMISED.split())
def test_what_was_promised_from_the_start_is_there(name: str) -> None:
    """Writing the file anew cannot lose these."""
    frozen = FROZEN.read_text(encoding="utf-8")
    if name.endswith("="):
        assert f"choice {name}" in frozen
    elif "." in name:
        assert f"setting {name} of " in frozen
    else:
        assert any(f"key {verb} {name}\n" in frozen for verb in ("train", "eval", "predict", "generate"))


def test_what_cfg_job_prints_is_what_was_frozen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--cfg", "job"]) == 0
    printed = OmegaConf.create(capsys.readouterr().out)
    assert isinstance(printed, DictConfig)
    frozen = FROZEN.read_text(encoding="utf-8").splitlines()
    check(
        sorted(f"config train {key}" for key in _leaves(printed)), [n for n in frozen if n.startswith("config train ")]
    )


def test_completion_knows_every_verb() -> None:
    """The list there is a second one: it cannot import the first."""
    assert set(VERBS) == set(cli.VERBS)


def test_a_runs_numbers_have_the_names_that_people_plot_and_compare(tiny_trained: Any) -> None:
    """Metric names out of a real run: of results.json, metrics.csv and predictions/test.jsonl."""
    import csv
    import json

    watched = {"loss", "perplexity", "bits_per_byte", "accuracy"}
    metrics = {*watched, "perplexity_per_word"}
    samples, longer = {"distinct_1", "distinct_2"}, {"repetition"}  # which four words have
    results = tiny_trained.results
    assert set(results["val"]) == set(results["test"]) == set(results["directions"]) == metrics, NUMBERS
    assert samples <= set(results["samples"]) <= samples | longer, NUMBERS
    assert set(results["perf"]) == {"tokens_per_sec", "peak_memory_bytes"}, NUMBERS
    assert set(results["run"]) == set(RunRecord.__annotations__), NUMBERS
    with (tiny_trained.folder / "metrics.csv").open(encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert columns[0] == "step"
    assert set(columns[1:]) - {f"val/sample_{name}" for name in longer} == {
        "train/loss", "train/tokens", "train/grad_norm", "optim/lr", "perf/tokens_per_sec",
        *(f"val/{name}" for name in watched), *(f"val/sample_{name}" for name in samples),
        *(f"test/{name}" for name in metrics),
    }, NUMBERS  # fmt: skip
    first = (tiny_trained.folder / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert set(json.loads(first)) == {"id", "loss", "tokens", "bytes", "bits_per_byte"}, NUMBERS


if __name__ == "__main__":
    FROZEN.write_text("\n".join(surface()) + "\n", encoding="utf-8")
