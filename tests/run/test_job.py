"""Guards: what Hydra would let through, or swallow, between a composed config and the run. Through Hydra: test_compose.py."""

from __future__ import annotations

import io
import os
import sys

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from manyheads.errors import Interrupted, UserError
from manyheads.run.base import Base
from manyheads.run.job import Job, Leave, check_complete, check_single, merged

CONFIG = OmegaConf.create(
    {"data": {"_target_": "a.b", "path": "x"}, "logger": {"wandb": {"_target_": "a.c"}}, "seed": 1}
)


@pytest.mark.parametrize("word", ["data=[text,csv]", "+data=[text]"])
def test_several_choices_of_one_thing_are_refused(word: str) -> None:
    """Hydra mixes the keys of both yamls into one node, and the last `_target_` wins."""
    with pytest.raises(UserError) as caught:
        check_single(CONFIG, ["seed=2", word])
    assert str(caught.value) == (
        f"{word}: these would be mixed into one data. Set one, or use -m to run with each. Several sources in one run are "
        "data=mixture, see conf/data/mixture.yaml."
    )


def test_several_loggers_and_lists_of_values_are_no_mixture() -> None:
    check_single(CONFIG, ["logger=[wandb,csv]", "data=text", "seed=[1,2]", "data.path=[a,b]", "absent=[1]"])


def test_what_is_not_set_is_named_and_a_reference_that_leads_nowhere_raises() -> None:
    check_complete(CONFIG)
    with pytest.raises(UserError, match=r"^data\.path is not set: add data\.path=VALUE\. x is not set: add x=VALUE\.$"):
        check_complete(OmegaConf.create({"x": "???", "data": {"path": "???"}}))
    with pytest.raises(OmegaConfBaseException):
        check_complete(OmegaConf.create({"seed": "${nowhere}"}))


def test_choices_of_the_run_stay_where_none_is_made() -> None:
    base = Base(OmegaConf.create({}), {"data": "pydocs", "model": "tiny"})
    assert merged({"model": "small", "hydra": "default", "hydra/launcher": "basic", "debug": None}, base) == {
        "data": "pydocs", "model": "small", "debug": "None",
    }  # fmt: skip
    assert merged({"model": "small"}, None) == {"model": "small"}


def job(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Job:
    def fail(*_: object) -> None:
        raise error

    made = Job("train", lambda *_: None, None, None, sweep=False)
    monkeypatch.setattr(made, "_run", fail)
    return made


def test_an_interruption_passes_through_what_catches_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra would take it for a failed run, and start the next one."""
    interrupted = Interrupted(15, "stopped")
    made = job(monkeypatch, interrupted)
    assert not issubclass(Leave, Exception)
    with pytest.raises(Leave) as caught, made.within_hydra():
        made(CONFIG)
    assert caught.value.error is interrupted


def test_the_first_error_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = job(monkeypatch, ZeroDivisionError("x"))
    with pytest.raises(ZeroDivisionError), made.within_hydra():
        made(CONFIG)
    assert isinstance(made.error, ZeroDivisionError)
    assert made.count == 1


def test_hydras_own_line_is_left_out_and_everything_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with Job("train", lambda *_: None, None, None, sweep=False).within_hydra():
        assert os.environ["HYDRA_FULL_ERROR"] == "1"
        sys.stderr.write("Error executing job with overrides: ['a=1']\n")
        sys.stderr.write("something else\n")
        sys.stderr.flush()
    assert stream.getvalue() == "something else\n"
    assert sys.stderr is stream
    assert "HYDRA_FULL_ERROR" not in os.environ
