"""Guards: the verb `model` reads data, says other numbers than training has, or lets a mistake out in Hydra's words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.data.source import Source
from manyheads.describe import HELP, describe_main, from_overrides
from manyheads.errors import UserError

GPT2 = ["model=gpt2", "tokenizer.vocab_size=50257", "task.seq_len=1024", "task.batch_size=8"]


@pytest.mark.slow
def test_gpt2_small_by_hand() -> None:
    """Released GPT-2 has 124,439,808 parameters; memory in float32 with AdamW's two moments and a counter for each."""
    found = from_overrides([*GPT2, "optim=adamw", "trainer.accelerator=cpu"])
    number = 124_439_808
    assert found["parameters"]["total"] == {"total": number, "active": number}
    assert found["training_bytes"]["weights"] == found["training_bytes"]["gradients"] == 4 * number
    tensors = 2 + 12 * 16 + 2
    assert found["training_bytes"]["optimizer"] == 8 * number + 4 * tensors
    matrices = 12 * 12 * 768**2 + 50257 * 768
    assert found["flops_per_token"] == {
        "forward": 2 * matrices + 12 * 4 * 768 * 1024,
        "training": 6 * matrices + 12 * 12 * 768 * 1024,
        "recomputed": 0,
    }
    assert found["kv_cache_bytes"] == {"per_token": 2 * 12 * 768 * 4, "per_batch": 8 * 1024 * 2 * 12 * 768 * 4}
    assert found["precision"] == "32-true"


def test_a_training_run_has_the_same_parameters_and_state(tiny: list[str], tiny_trained: Any) -> None:
    """The default optimizer's state as a real checkpoint of the same command line holds it."""
    found = from_overrides(tiny)
    assert found["parameters"]["total"]["total"] == tiny_trained.results["run"]["parameters"]
    saved = torch.load(tiny_trained.folder / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]
    tensors = [value for state in saved["state"].values() for value in state.values()]
    assert found["training_bytes"]["optimizer"] == sum(value.numel() * value.element_size() for value in tensors)


@pytest.mark.slow
def test_no_data_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Source, split: str) -> Any:
        raise AssertionError("data was read")

    monkeypatch.setattr(Source, "rows", read)
    assert from_overrides(["data=text", "data.path=nowhere.txt"])["vocab_size"] == 2048
    assert from_overrides(["tokenizer=byte"])["vocab_size"] == 257
    assert from_overrides(["tokenizer=character", "vocab_size=96"])["vocab_size"] == 96


@pytest.mark.slow
def test_activations_on_a_gpu_have_no_weights_of_attention() -> None:
    """GPT-2 has dropout: on a CPU its layers keep several tables [B, H, T, T] each."""
    words = ["model=gpt2", "model.num_layers=1", "tokenizer=byte", "task.seq_len=512", "task.batch_size=2"]
    cpu, gpu = (from_overrides([*words, f"trainer.accelerator={name}"]) for name in ("cpu", "gpu"))
    assert (cpu["fused_attention"], gpu["fused_attention"]) == (False, True)
    table = 4 * 2 * 12 * 512**2
    assert cpu["training_bytes"]["activations"] - gpu["training_bytes"]["activations"] > 2 * table


@pytest.mark.slow
def test_averages_are_a_copy_of_the_weights() -> None:
    plain, ema = (from_overrides(["model=nano", *more])["training_bytes"] for more in ([], ["callbacks.averaging=ema"]))
    assert (plain["averages"], ema["averages"]) == (0, plain["weights"])
    assert ema["total"] == plain["total"] + plain["weights"]


@pytest.mark.parametrize("optim", ["adam", "adamw", "lion", "muon", "schedule_free", "sgd"])
def test_every_optimizers_state(optim: str) -> None:
    """Numbers kept for each weight, by hand; counters of steps are a few bytes a tensor."""
    taken = from_overrides(["model=nano", f"optim={optim}", "trainer.accelerator=cpu"])["training_bytes"]
    embedding, matrices = 2048 * 64, 2 * (4 * 64 * 64 + 3 * 64 * 192)
    numbers = {"lion": 1, "sgd": 1}.get(optim, 2) * taken["weights"] // 4
    if optim == "muon":  # one momentum for a hidden matrix, two moments for the rest
        numbers = matrices + 2 * (embedding + 5 * 64)
    assert taken["optimizer"] is not None
    assert 0 <= taken["optimizer"] - 4 * numbers < 4 * 64


@pytest.mark.slow
def test_experts_of_which_a_token_uses_two(cli: Callable[..., Any]) -> None:
    found = from_overrides(["model=nano", "model.num_experts=8", "model.experts_per_token=2"])
    experts = found["parameters"]["feed-forward"]
    assert experts == {"total": 2 * 8 * 3 * 64 * 192, "active": 2 * 2 * 3 * 64 * 192}
    shown = cli("model", "model=nano", "model.num_experts=8")
    assert "active" in shown.out
    assert f"{experts['active']:,}" in shown.out


@pytest.mark.parametrize(
    "words",
    [
        ["model=transformer_512"],
        ["experiment=transformer_512"],
        ["model.window=32", "model.sinks=true", "model.qk_norm=true", "model.block=parallel"],
        ["head.mtp_tokens=2", "head.chunked=true", "head.z_loss=0.0001", "model.positions=alibi"],
        ["model.num_experts=4", "activation_checkpointing=2", "trainer.precision=bf16-mixed"],
        ["model.rotary_scaling=dynamic", "model.rotary_factor=2", "model.original_max_positions=64"],
        ["trainer=gpu", "optim=schedule_free"],
        ["trainer=fsdp"],
    ],
)
def test_every_kind_of_network_can_be_described(words: list[str]) -> None:
    found = from_overrides(["model.num_layers=2", *words])
    assert all(isinstance(size, int) for size in found["training_bytes"].values())
    assert found["training_bytes"]["activations"] > 0
    assert found["kv_cache_bytes"] is not None


@pytest.mark.slow
def test_checkpointing_and_half_precision_take_less() -> None:
    small = ["model.dim=64", "task.seq_len=64", "trainer.accelerator=cpu"]
    whole, less, half = (
        from_overrides([*small, *more])["training_bytes"]
        for more in ([], ["activation_checkpointing=1"], ["trainer.precision=bf16-true"])
    )
    assert less["activations"] < 0.8 * whole["activations"]
    assert less["weights"] == whole["weights"] == 2 * half["weights"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["tokenizer=character"],
            "tokenizer=character: only the data tells its vocabulary, and none is read here. Add",
        ),
        (["vocab_size=many"], "vocab_size=many: set a whole number of at least 1."),
        (["vocab_size=0"], "vocab_size=0: set a whole number of at least 1."),
        (["model=gpt3"], "model=gpt3"),
        (["model.dims=8"], "model.dims"),
        (["model.dim=10", "model.num_heads=3"], "model.dim=10"),
        (["model=gpt2", "task.seq_len=2048"], "task.seq_len=2048 is longer than the network's positions."),
        (["task.batch_size=0"], "task.batch_size=0: set a whole number of at least 1."),
        (["trainer.precision=8"], "trainer.precision=8 is not one of"),
        (["activation_checkpointing=0"], "activation_checkpointing=0: set a whole number of at least 1."),
        (["--jsn"], "--jsn: model has no flag --jsn. Did you mean '--json'?"),
        (["--json=1"], "--json=1: model has no flag"),
        (["--config-dir"], "--config-dir names no folder"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder."),
    ],
)
def test_wrong_use_exits_1_in_our_words(cli: Callable[..., Any], words: list[str], text: str) -> None:
    done = cli("model", *words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert text in done.err
    assert len(done.err.splitlines()) <= 2
    assert list(Path().iterdir()) == []


def test_the_page_and_the_json(cli: Callable[..., Any], tmp_path: Path) -> None:
    """A network of one's own folder; nothing is left behind."""
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "wee.yaml").write_text(
        "_target_: manyheads.model.decoder.Decoder\ndim: 8\nnum_layers: 1\nnum_heads: 2\n"
    )
    words = ["model", "model=wee", "tokenizer=byte", "task.seq_len=16", "--config-dir", "mine"]
    shown, told = cli(*words), cli(*words, "--json")
    assert (shown.code, told.code, shown.err, told.err) == (0, 0, "", "")
    found = json.loads(told.out)
    assert found["model"] == "wee"
    lines = {line.split("  ")[0]: line.split() for line in shown.out.splitlines()}
    assert lines["embedding"][1] == f"{257 * 8:,}"
    assert lines["forward"][1] == f"{found['flops_per_token']['forward']:,}"
    assert {"weights", "gradients", "optimizer", "activations", "a token"} <= set(lines)
    assert "active" not in shown.out
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_help_needs_neither_torch_nor_hydra() -> None:
    code = "import sys; from manyheads.describe import describe_main; describe_main(['--help']); "
    code += "print({'torch', 'hydra', 'omegaconf', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == HELP + "set()\n"
    assert max(map(len, HELP.splitlines())) <= 120


def test_a_mistake_is_a_user_error_in_python_too() -> None:
    with pytest.raises(UserError):
        describe_main(["tokenizer=character"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "cache"),
    [
        (["model=lstm"], True),
        (["model=encoder", "task=classification", "head=label", "head.labels=[a,b]"], False),
        (["model=lstm", "model.bidirectional=true", "task=classification", "head=label", "head.labels=[a,b]"], False),
        (
            ["model=encoder", "task=classification", "head=label", "head.labels=[a,b]", "activation_checkpointing=2"],
            False,
        ),
        (["model=encoder_decoder", "task=translation"], True),
        (["model=encoder_decoder", "task=summarization", "activation_checkpointing=2"], True),
        (["model=tiny", "task=translation"], True),
    ],
)
def test_networks_of_other_kinds_with_their_tasks(words: list[str], cache: bool) -> None:
    """Their rows are as long as the task allows; what an LSTM keeps does not grow with them."""
    found = from_overrides(["tokenizer=byte", *words])
    assert all(isinstance(size, int) for size in found["training_bytes"].values())
    assert found["training_bytes"]["activations"] > 0
    assert (found["kv_cache_bytes"] is not None) is cache
    assert found["seq_len"] == {"task=classification": 256, "task=summarization": 384}.get(words[-1], found["seq_len"])
    assert "other" not in found["parameters"]


def test_states_that_do_not_grow_are_told_apart(cli: Callable[..., Any]) -> None:
    lines = cli("model", "model=lstm", "tokenizer=byte").out
    assert "states in decoding" in lines
    assert "KV cache" not in lines
    assert "KV cache" in cli("model", "model=nano", "tokenizer=byte").out
