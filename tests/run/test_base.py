from pathlib import Path

import pytest
from omegaconf import OmegaConf

from manyheads.errors import UserError
from manyheads.run.base import base_of, setting, start_of
from manyheads.run.folder import RunFolder, config_text, write_config


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    write_config(
        folder,
        config_text(
            OmegaConf.create({"model": {"dim": 3}, "tokenizer": {"size": 9}, "seed": 7}),
            {"model": "mine", "tokenizer": "bpe"},
        ),
    )
    return folder.path


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["seed=1"], None),
        (["init=a", "init=b"], "b"),
        (["+init='a b'"], "a b"),
        (["init=null"], None),
        (["initial=a"], None),
    ],
)
def test_the_last_word_of_a_key_counts(words: list[str], value: str | None) -> None:
    assert setting(words, "init") == value


def test_a_run_without_a_name_is_refused_and_other_keys_are_not_set() -> None:
    """An unset shell variable leaves it so."""
    assert setting(["model="], "model") is None
    for word in ("init=", "+init=''", 'init=""'):
        with pytest.raises(UserError, match=r"^init is empty: set init=FOLDER, a run folder .*, or init=null\.$"):
            setting([word, "seed=1"], "init")


def test_a_base_is_the_config_of_a_folder(run: Path) -> None:
    found = base_of([f"resume={run}"], "resume")
    assert found is not None
    assert (found.config.seed, found.choices) == (7, {"model": "mine", "tokenizer": "bpe"})
    assert base_of([f"resume={run}"], "run") is None
    with pytest.raises(UserError, match=r"run=\S*/elsewhere: there is no such folder"):
        base_of([f"run={run.parent}/elsewhere"], "run")


def test_a_start_gives_its_network_unless_one_is_named(run: Path) -> None:
    found = start_of([f"init={run}", "model.dim=4"])
    assert found is not None
    assert found.config.model.dim == 3
    for words in ([f"init={run}", "model=small"], [f"init={run}", f"resume={run}"], [f"init={run},{run}"], ["seed=1"]):
        assert start_of(words) is None


def test_a_start_refuses_another_tokenizer_on_the_command_line(run: Path) -> None:
    """Its weights would mean nothing with it; one that is the run's own is no other."""
    assert start_of([f"init={run}", "tokenizer=bpe", "tokenizer.size=9"]) is not None
    for word, key, known in (("tokenizer=byte", "tokenizer", "bpe"), ("+tokenizer.size=10", "tokenizer.size", "9")):
        for more in ([], ["model=small"]):
            with pytest.raises(UserError) as caught:
                start_of([f"init={run}", word, *more])
            told = f"brings its tokenizer along ({key} is {known} there), without which its weights would mean nothing."
            assert str(caught.value) == f"{word}: init={run} {told} Leave {key} out."
