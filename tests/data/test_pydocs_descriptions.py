"""Guards: a description that is there for two signatures, so that one split could give another's away."""

from collections.abc import Callable

from manyheads.data.pydocs_definitions import Definition
from manyheads.data.pydocs_descriptions import description_rows

SOURCE = '''"""A module is no signature."""
class Door(Thing):
    """What one goes through."""
    def shut(self, hard=False):
        """Shut the door. Or try to."""
def shut_2():
    """Shut the door! As the other does."""
def undocumented(): ...
'''


def test_signatures_with_their_summaries(defined: Callable[..., list[Definition]]) -> None:
    assert list(description_rows(defined(m=SOURCE))) == [
        {"source": "class Door(Thing)", "target": "What one goes through.", "module": "m"},
        {"source": "def Door.shut(self, hard=False)", "target": "Shut the door.", "module": "m"},
    ]
    wide = f"def f({', '.join(f'argument{i}' for i in range(30))}):\n    'Do this and that.'\n"
    assert list(description_rows(defined(m=wide))) == []
