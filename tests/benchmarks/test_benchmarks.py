"""The driver of the benchmarks: what it finds, what it prints, what it makes of a peer that is not there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = {"__init__", "__main__", "base", "training", "long_inputs", "plain", "readme", "screen_picture"}


@pytest.fixture(autouse=True)
def _checkout(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As `python -m` in the checkout's root; another package called benchmarks would be found otherwise."""
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


@pytest.fixture
def driver() -> ModuleType:
    import benchmarks.__main__ as driver

    return driver


@pytest.fixture
def base() -> ModuleType:
    import benchmarks.base as base

    return base


def test_every_file_is_a_benchmark_or_a_tool(driver: ModuleType) -> None:
    """A benchmark without its marker would never run, and nobody would miss its row."""
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    found = driver.names()
    assert len(found) >= 7
    assert set(found) == files - TOOLS


def test_a_benchmark_is_called_as_its_file_and_runs_alone(driver: ModuleType) -> None:
    """`python -m benchmarks.NAME` is how the driver runs it; the rows carry the name."""
    for name in driver.names():
        text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        assert re.search(rf'name="{name}"', text), name
        assert text.endswith('\nif __name__ == "__main__":\n    BENCHMARK.main()\n'), name


def test_the_table_has_every_row_with_its_verdict(
    driver: ModuleType, base: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The median decides, on the good side of the goal; what was not measured stands there with its reason."""
    values = {"up": [0.9, 3.0, 2.0], "down": [0.9, 3.0, 2.0], "told": [4.0, 6.0]}
    goals = {
        "up": base.Goal("tokens/s", 2.0),
        "down": base.Goal("memory", 1.9, "at most"),
        "told": base.Goal("seconds", unit="s"),
    }

    def fake(name: str, rounds: int) -> list[object]:
        made = base.Benchmark(name=name, peer="a peer", goals=goals, measure=lambda n: values, threads=2)
        return made.rows(values) if name == "one" else made.rows(note="skipped: pip install two")

    for name in ("one", "two", "tool"):
        (tmp_path / f"{name}.py").write_text("BENCHMARK = Benchmark()\n" if name != "tool" else "x = 'BENCHMARK = '\n")
    file = tmp_path / "rows.json"
    assert driver.main(["--json", str(file)], measure=fake, folder=tmp_path) == 0
    lines = [re.sub(r"\s*│\s*", "|", line).strip("|") for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert lines == [
        "one|tokens/s|a peer|≥ 2 x|0.9|2 x|3|2|met",
        "one|memory|a peer|≤ 1.9 x|0.9|2 x|3|2|missed",
        "one|seconds|a peer||4|5 s|6|2|told",
        "two|tokens/s|a peer|≥ 2 x||||2|skipped: pip install two",
        "two|memory|a peer|≤ 1.9 x||||2|skipped: pip install two",
        "two|seconds|a peer|||||2|skipped: pip install two",
    ]
    rows = json.loads(file.read_text())
    assert [row["values"] for row in rows] == [[0.9, 3.0, 2.0], [0.9, 3.0, 2.0], [4.0, 6.0], [], [], []]


def test_a_failure_is_told_and_makes_the_exit_code(driver: ModuleType, base: ModuleType, tmp_path: Path) -> None:
    """A benchmark that breaks must not pass for one that was not asked for."""
    (tmp_path / "one.py").write_text("BENCHMARK = 1\n")
    row = base.Row("one", "", "", None, "", "", 0, note="failed: exit 1, see above")
    assert driver.main([], measure=lambda name, rounds: [row], folder=tmp_path) == 1


@pytest.mark.slow
def test_the_ways_of_packed_attention_are_those_of_the_network(driver: ModuleType) -> None:
    """It steps into the network's attention, which may change beneath it: once its calls had one argument more."""
    from benchmarks.packed_attention import WAYS, refusal

    assert refusal(WAYS["each document"]) is None


@pytest.mark.slow
def test_a_network_by_hand_has_the_parameters_of_ours(driver: ModuleType) -> None:
    """A peer of another shape would say nothing; BART's places begin at 2 there."""
    from benchmarks.families import FAMILIES, parts

    from manyheads.build import CONF_DIR
    from manyheads.rebuild import rebuild
    from manyheads.run.compose import compose

    for name, family in FAMILIES.items():
        task, by_hand = parts(family, family.settings)
        cfg = compose("train", family.settings, CONF_DIR).config
        if labels := getattr(task, "labels", ()):
            cfg.head = {**cfg.head, "labels": list(labels)}
        ours = {weight for part in rebuild(cfg, task.tokenizer) for weight in part.parameters()}
        found, wanted = (sum(weight.numel() for weight in each) for each in (set(by_hand.parameters()), ours))
        assert found == wanted + (2 * 2 * 128 if name == "bart" else 0), name
        loss = by_hand(next(iter(task.train_dataloader())))
        assert loss.shape == ()
        assert loss.isfinite()


def test_an_unknown_name_lists_those_there_are(
    driver: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.py").write_text("BENCHMARK = 1\n")
    with pytest.raises(SystemExit):
        driver.main(["two"], folder=tmp_path)
    assert "no benchmark two; there are one" in capsys.readouterr().err


def test_a_peer_that_is_missing_skips_with_its_line(base: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never left out in silence."""

    def measure(rounds: int) -> dict[str, list[float]]:
        base.peer("a_peer_that_nobody_has.part", "its-package")
        return {}

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    made = base.Benchmark(name="one", peer="p", goals={"a": base.Goal("a", 1.0)}, measure=measure)
    assert [row.verdict for row in made.run(5)] == ["skipped: pip install its-package"]
    monkeypatch.delenv("BENCHMARKS_OTHER", raising=False)
    with pytest.raises(base.Skipped, match="--peer other=PATH, a checkout of it"):
        base.checkout("other")


def test_rounds_are_interleaved_in_turns_after_one_that_is_not_counted(base: ModuleType) -> None:
    """One order for all rounds would give the second run a warm machine each time."""
    calls: list[str] = []

    def run(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    assert base.interleave(2, lambda: run("a"), lambda: run("b")) == [(3.0, 4.0), (6.0, 5.0)]
    assert calls == ["b", "a", "a", "b", "b", "a"]
