from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.run.compose import compose
from manyheads.run.hydra_errors import translate


def error_of(overrides: list[str], conf: Path) -> str:
    """The text of the UserError that overrides end in."""
    with pytest.raises(UserError) as caught:
        compose("train", overrides, conf)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dta=text"], "there is no key 'dta'. Did you mean 'data'"),
        (["data=txet"], "data=txet: data has no choice 'txet'. Did you mean 'text'"),
        (["optim.lrr=1"], "optim has no setting 'lrr'. Did you mean 'lr'"),
        (["model.nrm=1"], "Did you mean 'norm'"),
        (["optm.lr=1"], "Did you mean optim.lr?"),
        (["lr=1"], "Did you mean optim.lr?"),
        (["model.lr=1"], "Did you mean optim.lr?"),
        (["model.dim.x=1"], "model.dim is a single value"),
        (["data.path=x"], "data.path=x: the data chosen has no setting 'path'. Add data=text, which has it."),
        (["data=text"], "data.path is not set: add data.path=VALUE"),
        (["optim.lr"], "Write KEY=VALUE"),
        (["help"], "--help"),
        (["=3"], "has no key"),
        (["data=text", "data.path=my (1.txt"], "\"data.path='my (1.txt'\""),
        (["optim.lr=[1"], "the value cannot be read"),
        (["optim.lr=1,2"], "Add -m"),
        (["optim.lr=range(1,3)"], "add -m"),
        (["optim=3"], "name a choice of optim (adam, sgd)"),
        (["logger=null"], "leave it out with ~logger"),
        (["seed=${oc.env:NO_SUCH_THING}"], "environment variable NO_SUCH_THING, which is not set"),
        (["seed=${nowhere.at.all}"], "seed refers to something that is not there"),
        (["~optim.nothing"], "there is no such key"),
        (["++model=large"], "write a group without ++"),
        (["modle@x=large"], "there is no group 'modle'. Did you mean 'model'"),
        (["hydra.searchpath=[/no/such]"], "there is no folder /no/such"),
        (["hydra/launcher=slurmm"], "hydra/launcher has no choice 'slurmm'"),
    ],
)
def test_mistakes_are_named(conf: Path, overrides: list[str], words: str) -> None:
    assert words in error_of(overrides, conf)


def test_a_broken_yaml_is_named_with_its_line(conf: Path, tmp_path: Path) -> None:
    (conf / "data" / "broken.yaml").write_text("a: 1\nb: [\n")
    text = error_of(["data=broken"], conf)
    assert "broken.yaml, line 3" in text


def test_an_argument_without_a_default_is_not_offered(conf: Path) -> None:
    # vocab_size comes from the tokenizer; a yaml that sets it would clash with that
    assert "vocab_size" not in error_of(["model.vocab=3"], conf).partition("Settings")[2]
    assert "model has no setting 'vocab_size'" in error_of(["model.vocab_size=3"], conf)


def test_a_default_that_is_not_there_names_the_yaml_that_chose_it(conf: Path) -> None:
    (conf / "data" / "tiny.yaml").unlink()
    assert "data=tiny (chosen in train.yaml): data has no choice 'tiny'" in error_of([], conf)


def test_a_secret_is_not_said(conf: Path) -> None:
    assert "hush-hush" not in error_of(["logger.wandb.api_key=hush-hush"], conf)


def test_an_exception_of_no_config_is_left_alone() -> None:
    for error in (ValueError("ours"), KeyError("ours"), OSError("ours")):
        assert translate(error, [], None) is None
