"""Guards: a wheel without its config tree, and a checkout that reads the stale copy of one.

An editable install leaves `manyheads/conf` in site-packages, as it was on that day.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
WHERE = "import manyheads, manyheads.build as build; print(manyheads.__file__); print(build.conf_dir()); print(build.CONF_DIR)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the unpacked wheel."""
    pytest.importorskip(
        "hatchling", reason="hatchling, which builds the wheel, is not installed: pip install hatchling"
    )
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def python(*words: str, path: list[Path], cwd: Path) -> str:
    """What Python prints in `cwd`, with these folders before all others that it imports from."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path, ending: str) -> dict[str, bytes]:
    found = folder.rglob(f"*{ending}")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if "__pycache__" not in path.parts}


def test_every_yaml_is_inside_as_it_is_in_the_checkout(site: Path) -> None:
    inside = files(site / "manyheads" / "conf", ".yaml")
    assert len(inside) > 30
    assert inside == files(ROOT / "conf", ".yaml")


def test_every_module_is_inside_and_nothing_besides(site: Path) -> None:
    assert files(site / "manyheads", ".py") == files(ROOT / "src" / "manyheads", ".py")
    assert sorted(path.name.partition("-")[0] for path in site.iterdir()) == ["manyheads", "manyheads"]
    assert {path.suffix for path in (site / "manyheads").rglob("*") if path.is_file()} == {".py", ".yaml"}


def test_the_unpacked_wheel_finds_its_own_tree(site: Path, tmp_path: Path) -> None:
    package, found, at_import = python("-c", WHERE, path=[site], cwd=tmp_path).splitlines()
    assert Path(package) == site / "manyheads" / "__init__.py"
    assert Path(found) == Path(at_import) == site / "manyheads" / "conf"


def test_the_unpacked_wheel_composes_away_from_any_checkout(site: Path, tmp_path: Path) -> None:
    printed = python(
        "-m", "manyheads", "train", "--cfg", "job", "model=small", "data=text", "data.path=x", path=[site], cwd=tmp_path
    )
    assert "dim: 384" in printed
    assert "pydocs" in python("-m", "manyheads", "train", "--help", path=[site], cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkout_reads_its_own_tree_although_a_stale_one_is_in_site_packages(tmp_path: Path) -> None:
    """The stale one comes first on the path, and has a train.yaml of its own."""
    stale = tmp_path / "site-packages" / "manyheads" / "conf"
    stale.mkdir(parents=True)
    (stale / "train.yaml").write_text("stale: true\n", encoding="utf-8")
    package, found, _ = python("-c", WHERE, path=[tmp_path / "site-packages", ROOT / "src"], cwd=tmp_path).splitlines()
    assert Path(package) == ROOT / "src" / "manyheads" / "__init__.py"
    assert Path(found) == ROOT / "conf"


def test_the_wheel_brings_the_console_script_and_the_licence(site: Path) -> None:
    (info,) = site.glob("*.dist-info")
    assert "manyheads = manyheads.cli:main" in (info / "entry_points.txt").read_text(encoding="utf-8")
    assert "Apache License" in (info / "licenses" / "LICENSE").read_text(encoding="utf-8")
