"""Guards: a resume that trains something else than what was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from manyheads.callbacks.checkpoint_io import write_checkpoint
from manyheads.errors import UserError
from manyheads.run.folder import RunFolder, open_run_folder, read_config
from manyheads.run.resume import LIGHTNINGS_KEYS, check_resume
from manyheads.testing import byte_tokenizer, tiny_checkpoint, tiny_run

CONFIG = """\
manyheads: {schema: 1, version: 0.1.0}
model: {_target_: manyheads.model.decoder.Decoder, dim: 16}
head: {_target_: manyheads.head.next_token.NextToken}
tokenizer: {_target_: manyheads.tokenizer.byte.byte}
optim: {_target_: manyheads.optim.adamw.adamw, lr: 0.1}
trainer: {_target_: manyheads.trainer.trainer, max_steps: 20}
task: {_target_: manyheads.task.generation.Generation}
"""
LIGHTNINGS: dict[str, Any] = {key: {} for key in (*LIGHTNINGS_KEYS, "Generation")}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that was interrupted after step 7 of 20."""
    made = open_run_folder(tiny_run(tmp_path / "run", CONFIG), "resume")
    write_checkpoint(tiny_checkpoint(1, CONFIG) | LIGHTNINGS, made.checkpoint("last"))
    return made


def config(folder: RunFolder, *changes: str) -> DictConfig:
    merged = OmegaConf.merge(read_config(folder)[0], OmegaConf.from_dotlist(list(changes)))
    assert isinstance(merged, DictConfig)
    return merged


def finish(folder: RunFolder, status: str = "done") -> None:
    folder.results.write_text(json.dumps({"schema": 1, "run": {"status": status, "wall_seconds": 3.5}}))


def error_of(folder: RunFolder, *changes: str) -> str:
    with pytest.raises(UserError) as caught:
        check_resume(config(folder, *changes), folder)
    return str(caught.value)


def test_what_is_taken_up(folder: RunFolder) -> None:
    """The last checkpoint, not the best; the tokenizer of the checkpoint, not one made anew from data that changed."""
    finish(folder, "interrupted")
    resumed = check_resume(config(folder), folder)
    assert (resumed.checkpoint.name, resumed.step) == ("last.ckpt", 7)
    assert resumed.tokenizer.fingerprint == byte_tokenizer().fingerprint
    assert resumed.results is not None
    assert resumed.results["run"]["wall_seconds"] == 3.5


def test_a_run_that_was_killed_before_its_results_still_resumes(folder: RunFolder) -> None:
    assert check_resume(config(folder), folder).results is None


@pytest.mark.parametrize(
    ("change", "old"),
    [("model.dim=32", "16"), ("head.bias=true", "false"), ("tokenizer._target_=manyheads.tokenizer.bpe.bpe", "manyheads.tokenizer.byte.byte")],
)  # fmt: skip
def test_what_the_weights_depend_on_may_not_change(folder: RunFolder, change: str, old: str) -> None:
    key, _, value = change.partition("=")
    text = error_of(folder, change)
    assert text.startswith(f"{key}={value}: a resumed run keeps its network, head, tokenizer and kind of optimizer")
    assert f"(it was {old})" in text


def test_a_run_from_before_a_setting_existed_goes_on(folder: RunFolder) -> None:
    """Its config has no such key; train() writes today's default into the one that it is held to."""
    check_resume(config(folder, "model.qk_norm=false", "head.z_loss=0.0"), folder)
    before: Any = config(folder)
    del before.model.dim
    with pytest.raises(UserError, match=r"model\.dim=128: a resumed run keeps"):
        check_resume(before, folder)
    assert error_of(folder, "model.qk_norm=true").startswith("model.qk_norm=true: a resumed run keeps")


def test_everything_else_may_change(folder: RunFolder) -> None:
    check_resume(config(folder, "optim.lr=0.2", "trainer.max_steps=30"), folder)


LIMITED = {
    "trainer.max_steps": 7,
    "trainer.max_epochs": 1,
    "trainer.max_minutes": 0.5,
    "trainer.max_tokens": 1500,
    "callbacks.patience": 2,
}


@pytest.mark.parametrize("key", LIMITED)
def test_a_finished_run_goes_on_only_when_what_it_ran_up_to_is_raised(folder: RunFolder, key: str) -> None:
    """Guards a finished run that trains another step, and loses its results, whenever somebody resumes it."""
    ran_up_to(folder, {key: LIMITED[key]})
    for same in ((), ("optim.lr=0.2",), (f"{key}={LIMITED[key]}",), (f"{key}={LIMITED[key] / 4}",)):
        assert error_of(folder, *same) == (
            f"resume={folder.path}: this run is finished at step 7. To train it longer, raise {key} (it was {LIMITED[key]:,})."
        )
    for more in (str(LIMITED[key] * 4), "null"):
        assert check_resume(config(folder, f"{key}={more}"), folder).step == 7


def test_a_finished_run_of_two_limits_names_both(folder: RunFolder) -> None:
    ran_up_to(folder, {"trainer.max_steps": 7, "callbacks.patience": 2})
    assert error_of(folder).endswith("raise trainer.max_steps (it was 7) or callbacks.patience (it was 2).")
    assert "is finished" in error_of(folder, "callbacks.patience=3"), "its steps are used up"


def ran_up_to(folder: RunFolder, limits: dict[str, float]) -> None:
    """Makes the run one that is done."""
    before = read_config(folder)[0]
    del before.trainer.max_steps
    for key, limit in limits.items():
        OmegaConf.update(before, key, limit, force_add=True)
    folder.config.write_text(CONFIG.splitlines()[0] + "\n" + OmegaConf.to_yaml(before))
    finish(folder)


def test_a_limit_that_the_run_is_past_already_is_refused(folder: RunFolder) -> None:
    """It would train nothing, and be done at a step beyond its limit."""
    finish(folder, "interrupted")
    told = "trainer.max_steps=6: this run is at step 7 already. Set it to that or more, or score the run as it is with eval."
    assert error_of(folder, "trainer.max_steps=6") == told
    assert check_resume(config(folder, "trainer.max_steps=7"), folder).step == 7


def test_a_run_without_a_checkpoint(folder: RunFolder) -> None:
    folder.checkpoint("last").unlink()
    assert error_of(folder).startswith(f"resume={folder.path}: this run has no checkpoint yet.")


@pytest.mark.parametrize("key", ["optimizer_states", "loops", "callbacks", "Generation"])
def test_a_checkpoint_without_the_state_of_training_is_named_with_what_to_do(folder: RunFolder, key: str) -> None:
    """Lightning would begin at step 0, or with fresh moments, and say nothing."""
    whole = tiny_checkpoint(1, CONFIG) | LIGHTNINGS
    del whole[key]
    write_checkpoint(whole, folder.checkpoint("last"))
    text = error_of(folder)
    assert f"lacks {key}: training cannot go on from it." in text
    assert text.endswith("To go on from best.ckpt, copy it over last.ckpt.")


def test_a_link_out_of_the_folder_is_refused(folder: RunFolder, tmp_path: Path) -> None:
    """What is written there would land elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (folder.path / "predictions").symlink_to(tmp_path / "elsewhere")
    assert "predictions is a link to" in error_of(folder)


def test_what_changed_is_listed_by_name_with_both_values(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: settings that nobody typed in the list, such as defaults that are written out; and a secret in it."""
    assert check_resume(config(folder), folder).changes == []
    assert check_resume(config(folder, "trainer.max_minutes=null", "resume=x"), folder).changes == []
    changes = ["optim.lr=0.2", "trainer.max_steps=30", "task.shuffle=false", "tags=[a]", "data.token=hf_abc"]
    said = check_resume(config(folder, *changes), folder).changes
    assert said[:3] == ["optim.lr 0.1 -> 0.2", "trainer.max_steps 20 -> 30", "task.shuffle true -> false"]
    assert said[3] == "tags (unset) -> ['a']"
    assert "hf_abc" not in str(said)


def test_the_place_in_the_data_is_taken_along(folder: RunFolder) -> None:
    write_checkpoint(tiny_checkpoint(1, CONFIG) | LIGHTNINGS | {"Generation": {"rows": 8}}, folder.checkpoint("last"))
    assert check_resume(config(folder), folder).place == {"rows": 8}
