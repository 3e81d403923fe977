"""README.md against the config tree, and the script that runs its commands."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from omegaconf import OmegaConf

from manyheads.build import CONF_DIR
from manyheads.run.help import choices

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_script", ROOT / "benchmarks" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_groups_is_the_config_tree() -> None:
    """A yaml that is added or renamed and not told of; the first choice is the default."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ((?:`\w+` ?)+)\|$", README, re.MULTILINE)
    table = {group: re.findall(r"`(\w+)`", names) for group, names in rows}
    assert {group: sorted(names) for group, names in table.items()} == choices([CONF_DIR])
    defaults = [
        item for item in OmegaConf.load(CONF_DIR / "train.yaml").defaults if item != "_self_" and "hydra" not in item
    ]
    chosen = {group: choice for item in defaults for group, choice in item.items() if choice is not None}
    assert len(chosen) == 9
    assert {group: table[group][0] for group in chosen} == chosen


def test_links_to_files_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    ]
    assert len(links) >= 8
    assert [link for page, link in links if not (page.parent / link).exists()] == []


def test_only_blocks_with_a_reason_are_exempt(script: ModuleType) -> None:
    """A comment that is no reason, or that stands elsewhere, must not keep a command from being run."""
    text = (
        "```bash\na\n```\n<!-- not run: needs a key -->\n```bash\nb\n```\n<!-- a remark -->\n```bash\nc \\\n  d\n# e\n\nf\n```\n"
        "<!-- not run: too far away -->\n\n```python\ng\nh\n```\n<!-- not run: -->\n```bash\ni\n```\n```\nj\n```\n"
    )
    found = script.blocks(text)
    assert [block.reason for block in found] == [None, "needs a key", None, None, None]
    run = [command for block in found if block.reason is None for command in script.commands(block)]
    assert run == ["a", "c    d", "f", "g\nh\n", "i"]


@pytest.mark.parametrize(
    ("command", "ran"),
    [
        ("python train.py", "python train.py {t}"),
        ("manyheads train seed=2", "manyheads train {t} seed=2"),
        ("python train.py a=1 trainer.max_steps=null trainer.max_minutes=30 b=2", "python train.py {t} a=1 b=2"),
        ("python train.py resume=RUN trainer.max_steps=2000", "python train.py {r} resume=RUN"),
        ("python train.py --help", "python train.py --help"),
        ("python train.py --cfg job", "python train.py --cfg job"),
        ("python eval.py run=RUN trainer.precision=32-true", "python eval.py run=RUN trainer.precision=32-true"),
    ],
)
def test_training_gets_a_small_budget_and_nothing_else_changes(script: ModuleType, command: str, ran: str) -> None:
    assert script.with_budget(command) == ran.format(t=script.TRAINING, r=script.RESUMING)


def test_no_command_of_the_readme_is_left_out_without_a_reason(script: ModuleType) -> None:
    found = script.blocks(README)
    assert sum(block.reason is None for block in found) >= 7
    assert all(block.reason for block in found if "pip install" in block.body)
    assert not re.search(r"^```(?:sh|shell|console)", README, re.MULTILINE)
