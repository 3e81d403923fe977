"""Guards: modules that are run, signatures that differ from their source, defaults whose place is another."""

from collections.abc import Callable

from manyheads.data.pydocs_definitions import Definition

MODULE = '''"""About m. And more of it."""
raise SystemExit("this ran")

class A(Base, metaclass=M):
    """About A."""
    async def f(self, a, /, b: int = 1, *rest, c, d=(1, "x"), **others) -> str:
        """About f."""
    def _g(cls, *, x=None):
        """About g."""
    def twice(self):
        """about   F!"""
class B:
    """About the other B."""
'''


Read = Callable[..., list[Definition]]


def by_name(found: list[Definition]) -> dict[str, Definition]:
    return {definition.dotted: definition for definition in found}


def test_signatures_and_where_their_defaults_are(defined: Read) -> None:
    found = by_name(defined(m=MODULE))
    assert {name: definition.signature.text for name, definition in found.items()} == {
        "m": "module m",
        "m.A": "class A(Base)",
        "m.A.f": "async def A.f(self, a, /, b: int = 1, *rest, c, d=(1, 'x'), **others) -> str",
        "m.A._g": "def A._g(cls, *, x=None)",
        "m.B": "class B",
    }
    signature = found["m.A.f"].signature
    assert signature.parameters == ("a", "b", "c", "d")
    assert {name: signature.text[slice(*span)] for name, span in signature.defaults.items()} == {
        "b": "1",
        "d": "(1, 'x')",
    }
    assert found["m.A"].signature.bases == ("Base",)


def test_docstrings_are_taken_apart(defined: Read) -> None:
    found = by_name(defined(m=MODULE))
    assert (found["m"].summary, found["m"].body) == ("About m.", "And more of it.")
    assert [name for name, definition in found.items() if not definition.is_public] == ["m.A._g"]
    assert [name for name, definition in found.items() if definition.is_class] == ["m.A", "m.B"]


def test_a_docstring_that_another_module_has_is_left_out(defined: Read) -> None:
    assert [d.module for d in defined(a='"""The same."""', b='"""The  Same!"""', c='"""Another."""')] == ["a", "c"]


def test_public_names_of_modules_that_stand_behind_others(defined: Read) -> None:
    found = by_name(defined(_pydecimal='def f():\n    "About it."\n'))
    assert list(found) == ["decimal.f"]
    assert found["decimal.f"].is_public
