"""What a source file defines, for the tests of the views of pydocs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from manyheads.data.pydocs_definitions import Definition, definitions


@pytest.fixture
def defined(tmp_path: Path) -> Callable[..., list[Definition]]:
    """Makes files of sources by the module's name and reads their definitions."""

    def read(**modules: str) -> list[Definition]:
        files = {name: tmp_path / f"{name}.py" for name in modules}
        for name, path in files.items():
            path.write_text(modules[name])
        return definitions(files)

    return read
