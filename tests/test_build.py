"""Guards: a config from elsewhere that runs code, and a setting that no target has and nobody notices."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from manyheads.build import CONF_DIR, build, check_tree, complete, resolve_target
from manyheads.errors import UserError

DANGEROUS = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "pickle.loads",
    "torch.load",
    "torch.hub.load",
    "torch.utils.collect_env.run",
    "torch.utils.cpp_extension.load_inline",
    "torch.serialization.load",
    "torch.jit.load",
    "torch.multiprocessing.spawn",
    "pytorch_lightning.trainer.trainer.os.system",
    "pytorch_lightning.Trainer",
    "manyheads.build.build",
    "manyheads.build.importlib.import_module",
    "manyheads.run.provenance.subprocess.run",
    "manyheads.cli.main",
    "hydra.utils.instantiate",
]


@pytest.mark.parametrize("target", DANGEROUS)
def test_no_target_outside_the_trusted_kinds_is_built(target: str) -> None:
    """The call itself would do harm, so the refusal must come before it: nothing here may have arguments that work."""
    with pytest.raises(UserError, match=r"_target_="):
        build(OmegaConf.create({"_target_": target}), "model")


def test_a_nested_target_is_refused_before_the_outer_one_is_built(tmp_path: Path) -> None:
    """The marker file would be there if the inner call had run."""
    marker = tmp_path / "ran"
    inner = {"_target_": "os.system", "command": f"touch {marker}"}
    node = OmegaConf.create({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 2, "device": inner})
    with pytest.raises(UserError, match=r"model\.device\._target_=os\.system"):
        build(node, "model")
    assert not marker.exists()


def test_torch_hub_load_of_a_local_folder_does_not_run_its_code(tmp_path: Path) -> None:
    """Hydra's own instantiate runs this hubconf.py."""
    marker = tmp_path / "ran"
    (tmp_path / "hubconf.py").write_text(f"open({str(marker)!r}, 'w').close()\ndef net(): return 1\n")
    node = {"_target_": "torch.hub.load", "repo_or_dir": str(tmp_path), "model": "net", "source": "local"}
    with pytest.raises(UserError, match="may not be built"):
        build(OmegaConf.create(node), "model")
    assert not marker.exists()


def test_a_trusted_class_is_built_with_settings_and_live_objects() -> None:
    """The live object passes through untouched: a config node would have copied it."""
    live = object()
    layer = build(OmegaConf.create({"_target_": "torch.nn.Linear", "in_features": 3}), "model", out_features=5)
    assert (layer.in_features, layer.out_features) == (3, 5)
    with pytest.raises(TypeError):
        build(OmegaConf.create({"_target_": "torch.nn.Linear", "in_features": 3}), "model", out_features=live)


def test_another_module_needs_allow_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways: refused without, built with."""
    (tmp_path / "my_own_nets.py").write_text(
        "class Net:\n    def __init__(self, width=1):\n        self.width = width\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    node = OmegaConf.create({"_target_": "my_own_nets.Net", "width": 4})
    with pytest.raises(UserError, match=r"allow=\[my_own_nets\]"):
        build(node, "model")
    assert build(node, "model", allow=["my_own_nets"]).width == 4


def test_what_an_allowed_module_imports_is_not_allowed_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`from os import system` in an allowed module must not open os.system."""
    (tmp_path / "my_own_tools.py").write_text("from os import system\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="may not be built"):
        resolve_target("my_own_tools.system", "model", ["my_own_tools"])


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("nmu_layers", 3, r"model\.nmu_layers=3 is no setting of Decoder\. Did you mean 'num_layers'"),
        ("num_layers", "two", r"model\.num_layers=two: set a whole number"),
        ("num_layers", 2.5, r"model\.num_layers=2\.5: set a whole number"),
        ("dropout", "high", r"model\.dropout=high: set a number"),
        ("tie_embeddings", 3, r"model\.tie_embeddings=3: set true or false"),
        ("dim", None, r"model\.dim=null: set a whole number"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_set(key: str, value: object, text: str) -> None:
    node = OmegaConf.create({"_target_": "manyheads.model.decoder.Decoder", key: value})
    with pytest.raises(UserError, match=text):
        build(node, "model", vocab_size=16)


YAMLS = sorted(
    path
    for path in CONF_DIR.rglob("*.yaml")
    if path.parent.name in {"task", "data", "tokenizer", "model", "head", "optim", "trainer", "callbacks", "logger"}
)


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_yaml_binds_to_its_targets_signature(path: Path) -> None:
    """A renamed argument of ours, of Lightning's or of W&B's turns red the day it happens."""
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    cfg.pop("defaults", None)
    check_tree(OmegaConf.create({path.parent.name: cfg}))


def test_the_yamls_were_found() -> None:
    """A glob that finds nothing would make the test above pass."""
    found = {group: sum(path.parent.name == group for path in YAMLS) for group in {path.parent.name for path in YAMLS}}
    assert found == {
        "task": 11,
        "data": 15,
        "tokenizer": 8,
        "model": 25,
        "head": 7,
        "optim": 7,
        "trainer": 6,
        "callbacks": 1,
        "logger": 4,
    }


def test_complete_writes_the_signatures_defaults_into_the_config() -> None:
    """A saved config that leaves a default out would change with the next version."""
    cfg = OmegaConf.create({"model": {"_target_": "manyheads.model.decoder.Decoder", "dim": 64}, "seed": 3})
    full = complete(cfg)
    assert full.model.dim == 64
    assert full.model.dropout == 0.0
    assert full.seed == 3
    assert "vocab_size" not in full.model


def test_complete_reaches_the_members_of_a_mixture() -> None:
    """Guards: a run whose data would change with the default of a later version."""
    member = {"_target_": "manyheads.data.files.files", "format": "text", "path": "a.txt"}
    node = {"_target_": "manyheads.data.mixture.mixture", "sources": {"a": member, "b": None}}
    full = complete(OmegaConf.create({"data": node}))
    assert full.data.sources.a.encoding == "utf-8"
    assert full.data.sources.b is None
