"""Guards: an option that reaches only some sources, changes the default run, or is not known to the command line."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from manyheads.build import CONF_DIR, build
from manyheads.data.contamination import WithContamination
from manyheads.data.files import Files, files
from manyheads.data.hub import hub
from manyheads.data.near_duplicates import WithoutNearDuplicates
from manyheads.data.prepare import TextOptions, prepared
from manyheads.data.pydocs import PyDocs, pydocs
from manyheads.errors import UserError
from manyheads.run.schema import arguments
from manyheads.signature import parameters, plain_defaults
from manyheads.testing import Rows


@pytest.mark.parametrize("source", [pydocs, files, hub])
def test_every_source_has_every_option_in_its_signature_and_before_anything_is_imported(source: Callable) -> None:
    shared = inspect.signature(TextOptions).parameters
    assert shared.keys() < parameters(source).keys()
    assert shared.keys() < plain_defaults(source).keys()
    known = arguments(f"{source.__module__}.{source.__name__}")
    assert known.keys() == parameters(source).keys()
    assert all(known[name] for name in shared)


def test_every_data_yaml_names_such_a_source() -> None:
    paths = sorted((CONF_DIR / "data").glob("*.yaml"))
    assert len(paths) >= 6
    for path in paths:
        target = next(line.split()[1] for line in path.read_text().splitlines() if line.startswith("_target_"))
        # the sources of a mixture have these options, each its own, and what is made up needs none
        assert ("near_duplicates" in arguments(target)) != (path.stem in ("mixture", "recall")), path.name


def test_with_every_option_off_nothing_is_wrapped(corpus: Path) -> None:
    rows = Rows({"train": ["a"]})
    assert prepared(rows, TextOptions()) is rows
    assert type(pydocs()) is PyDocs
    assert type(files(format="json", path=str(corpus))) is Files


def test_options_act_in_their_order(corpus: Path) -> None:
    from omegaconf import OmegaConf

    node = {"_target_": "manyheads.data.files.files", "format": "json", "path": str(corpus), "lower_case": True}
    options = {"stop_words": ["THE"], "near_duplicates": 0.9, "contamination": 5}
    source = build(OmegaConf.create({**node, **options}), "data")
    assert type(source) is WithContamination
    assert type(source.inner) is WithoutNearDuplicates
    assert "without 1 stop word, lower case" in " ".join(source.notes)
    assert all("the " not in text for texts in source.texts("train") for text in texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"near_duplicates": 0.0}, r"data\.near_duplicates=0\.0: set a number above 0, at most 1"),
        ({"near_duplicates": 1.5}, r"data\.near_duplicates=1\.5"),
        ({"near_duplicates_ngram": 0}, r"data\.near_duplicates_ngram=0: set a number of at least 1"),
        ({"contamination": 0}, r"data\.contamination=0: set a number of at least 1"),
        ({"unicode_form": "NFX"}, r"data\.unicode_form=NFX is not one of NFC, NFD, NFKC, NFKD"),
    ],
)
def test_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TextOptions(**options)


@pytest.mark.slow
def test_a_run_keeps_the_reports_the_notes_and_the_settings(cli, tiny: list[str]) -> None:
    done = cli("train", *tiny, "data.lower_case=true", "data.near_duplicates=0.8", "data.contamination=5")
    assert done.code == 0, done.err
    for name in ("near_duplicates.json", "contamination.json"):
        assert json.loads((done.folder / name).read_text(encoding="utf-8"))
    notes = " ".join(done.results["run"]["notes"])
    assert "texts are cleaned: lower case" in notes
    assert "training rows nearly repeat another" in notes
    assert "share 5 words in a row with train" in notes
    config = (done.folder / "config.yaml").read_text(encoding="utf-8")
    assert "near_duplicates: 0.8" in config
    assert "unicode_form: null" in config
