"""Guards the four things that tell a code base that keeps its shape: names that decide, config read deep, types, tests."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "manyheads"
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = ("task", "model", "data", "head", "metric")
MAY_READ_CFG = {
    "rebuild.py",
    "members.py",
    "checked.py",
    "train.py",
    "eval.py",
    "generate.py",
    "describe.py",
    "predict.py",
    "load.py",
    "compatibility.py",
    "build.py",
}


def test_files_were_found() -> None:
    assert len(FILES) > 40


def _names_compared(tree: ast.AST) -> Iterator[ast.Compare]:
    """Comparisons of something called name, kind or type with a literal text: `if self.name == "gpt2"`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)
            words = {getattr(side, "attr", getattr(side, "id", "")) for side in sides}
            if texts and words & {"name", "task", "model", "task_name", "model_name", "dataset", "architecture"}:
                yield node


def test_no_branch_on_a_name_in_the_rooms_that_grow() -> None:
    """A new task, model, data set, head or metric is a new file, never a new branch."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for room in ROOMS
        for path in sorted((SOURCE / room).rglob("*.py"))
        for node in _names_compared(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_config_is_read_at_the_top_only() -> None:
    """`cfg.something.else` below train() and eval() makes a part that cannot be used without the whole."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in FILES
        if path.name not in MAY_READ_CFG and path.parent.name != "run"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cfg"
    ]
    assert found == []


def test_every_function_says_what_it_returns() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is None
    ]
    assert found == []


def test_every_module_has_its_mirrored_test() -> None:
    """tests/ mirrors src/manyheads one to one, so that nobody has to look for a test."""
    tests = Path(__file__).parent
    missing = [
        str(path.relative_to(SOURCE))
        for path in FILES
        if path.name not in {"__init__.py", "__main__.py"}
        and not (tests / path.relative_to(SOURCE).parent / f"test_{path.name}").is_file()
    ]
    assert missing == []


def test_no_file_outgrows_its_room() -> None:
    """Three hundred lines that hold one thing."""
    assert [f"{path.relative_to(SOURCE)}" for path in FILES if len(path.read_text().splitlines()) > 300] == []


@pytest.mark.parametrize("module", ["manyheads", "manyheads.cli", "manyheads.errors"])
def test_the_front_door_imports_neither_torch_nor_lightning(module: str) -> None:
    """`--help` would take six seconds."""
    code = (
        f"import sys, {module}; print(sorted({{'torch', 'pytorch_lightning', 'datasets', 'wandb'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
