"""The promises in docs/what_stays_the_same.md name tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_promise_names_a_test() -> None:
    rows = [line for line in (ROOT / "docs" / "what_stays_the_same.md").read_text(encoding="utf-8").splitlines()
            if line.startswith("| ") and not line.startswith(("| promise", "| ---"))]  # fmt: skip
    assert len(rows) >= 12
    for row in rows:
        found = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert found, row
        for file, name in found:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in names, f"{file} has no {name}"
