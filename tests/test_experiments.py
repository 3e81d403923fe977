"""Guards: a recipe that no longer composes, and one that drifts away from what it says it repeats."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from manyheads.build import CONF_DIR, build, check_tree, complete
from manyheads.optim.schedule import Course
from manyheads.run.compose import compose

EXPERIMENTS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))
CHARACTERS = 65  # of tiny Shakespeare


def composed(experiment: str) -> DictConfig:
    """As its first line says to call it."""
    called = (CONF_DIR / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    path = [f"{key}=texts" for key in ("data.path", "data.name") if f" {key}=FOLDER:" in called]
    return compose("train", [f"experiment={experiment}", *path], CONF_DIR).config


def test_the_experiments_were_found() -> None:
    """A glob that finds nothing would make the test below pass."""
    assert EXPERIMENTS == [
        "ag_news",
        "ag_news_bag",
        "ag_news_masked",
        "bart_small",
        "bert_small",
        "byte_level",
        "glove",
        "ladder",
        "movie_reviews",
        "movie_reviews_masked",
        "movie_reviews_textcnn",
        "multi30k",
        "multi30k_hour",
        "policyqa",
        "policyqa_masked",
        "roberta_small",
        "scitldr",
        "scitldr_sentence",
        "shakespeare_char",
        "shakespeare_char_best",
        "shakespeare_char_gpu",
        "small_talk",
        "t5_small",
        "thucnews",
        "thucnews_bag",
        "thucnews_masked",
        "transformer_512",
        "word_vectors",
    ]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_binds(experiment: str) -> None:
    """A recipe sets keys that its groups' yamls do not name, so those yamls' own test does not see them."""
    check_tree(composed(experiment))


@pytest.mark.parametrize(
    ("experiment", "shape", "parameters"),
    [
        # L (2 D + 12 D^2) in the blocks, D in the last norm, V D tokens and T D positions, counted by hand; nanoGPT's
        # own code prints 0.80M and 10.65M, which leave out the positions
        ("shakespeare_char", (4, 4, 128, 64, 0.0), 804_096),
        ("shakespeare_char_gpu", (6, 6, 384, 256, 0.2), 10_745_088),
    ],
)
def test_the_network_is_nanogpts(experiment: str, shape: tuple[Any, ...], parameters: int) -> None:
    cfg = composed(experiment)
    network = build(cfg.model, "model", vocab_size=CHARACTERS)
    assert sum(p.numel() for p in network.parameters()) == parameters
    settings = network.settings
    assert tuple(settings[key] for key in ("num_layers", "num_heads", "dim", "max_positions", "dropout")) == shape
    assert cfg.task.seq_len == network.max_positions
    kinds = {key: settings[key] for key in ("norm", "activation", "positions", "bias", "tie_embeddings", "init")}
    assert kinds == {
        "norm": "layernorm",
        "activation": "gelu",
        "positions": "learned",
        "bias": False,
        "tie_embeddings": True,
        "init": "gpt2",
    }


@pytest.mark.parametrize(
    ("experiment", "rows", "steps"), [("shakespeare_char", 12, 2000), ("shakespeare_char_gpu", 64, 5000)]
)
def test_the_recipe_is_nanogpts(experiment: str, rows: int, steps: int) -> None:
    """config/train_shakespeare_char.py and, for a CPU, the flags of its README; the rate by nanoGPT's formula."""
    cfg = composed(experiment)
    assert (cfg.task.batch_size, cfg.trainer.max_steps, cfg.trainer.gradient_clip_val) == (rows, steps, 1.0)
    network = build(cfg.model, "model", vocab_size=CHARACTERS)
    optimizer, schedule = build(cfg.optim, "optim", module=network)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3}
    assert {tuple(group["betas"]) for group in optimizer.param_groups} == {(0.9, 0.99)}
    assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0.0, 0.1]
    assert isinstance(schedule, Course)
    for step, rate in [
        (0, 1e-3 / 101),
        (50, 1e-3 * 51 / 101),
        (100, 1e-3),
        ((steps + 100) // 2, 5.5e-4),
        (steps, 1e-4),
    ]:
        assert 1e-3 * schedule.factor(step, step / steps, steps) == pytest.approx(rate, rel=1e-9)


def test_tiny_shakespeare_is_learned_whole(tmp_path: Path) -> None:
    """A test split cut from train would leave less to learn from than nanoGPT has."""
    (tmp_path / "train.txt").write_text("to be\nor not\n")
    (tmp_path / "validation.txt").write_text("that is\n")
    cfg = composed("shakespeare_char")
    cfg.data.path = str(tmp_path)
    source = build(cfg.data, "data")
    assert ["".join(chain.from_iterable(source.texts(split))) for split in ("train", "validation", "test")] == [
        "to be\nor not\n",
        "that is\n",
        "that is\n",
    ]


@pytest.mark.parametrize(
    ("experiment", "task", "shape"),
    [
        ("bert_small", {"masking": "static", "next_sentence": True}, {"token_types": 2, "embedding_norm": True}),
        ("roberta_small", {"masking": "dynamic", "pack": True}, {"token_types": None, "positions": "learned"}),
        (
            "t5_small",
            {"objective": "t5", "mean_span": 3.0, "noise_rate": None},
            {"positions": "relative", "init": "t5"},
        ),
        ("bart_small", {"objective": "bart", "permute_sentences": True}, {"positions": "learned", "init": "normal"}),
    ],
)
def test_the_objective_is_the_papers(experiment: str, task: dict[str, Any], shape: dict[str, Any]) -> None:
    """And the network is of the shape of its preset, made narrower."""
    cfg = composed(experiment)
    network = build(cfg.model, "model", vocab_size=CHARACTERS)
    assert network.settings | shape | {"dim": 128} == network.settings
    full = complete(cfg)
    assert {key: full.task[key] for key in task} == task
    _, schedule = build(cfg.optim, "optim", module=network)
    assert isinstance(schedule, Course)
    half = schedule.factor(1000, 0.5, 2000)
    wanted = {"t5_small": (101 / 1001) ** 0.5}.get(
        experiment, 1000 / 1900
    )  # with the root of the step, or straight to 0
    assert half == pytest.approx(wanted, rel=1e-6)
