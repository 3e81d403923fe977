"""Guards: modules that are run instead of read, docstrings missed, test suites taken for documentation."""

from pathlib import Path

from manyheads.data.docstrings import module_files, module_text, topic_texts

MODULE = '''"""About the module.

More."""
raise SystemExit("this ran")

class A:
    """About A."""
    def f(self, x: int = 1, *rest):
        """About f."""
    def bare(self): ...
    class B:
        async def g(self):
            "About g."

if True:
    def h():
        r"""About \\d."""
def broken():
    "\\ud800"
'''


def test_docstrings_are_read_in_order_and_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MODULE)
    assert module_text("pkg.m", tmp_path / "m.py") == [
        ("pkg.m", "About the module.\n\nMore."),
        ("class A", "About A."),
        ("A.f(self, x: int=1, *rest)", "About f."),
        ("A.B.g(self)", "About g."),
        ("h()", "About \\d."),
        ("broken()", "?"),
    ]
    (tmp_path / "bad.py").write_text("def (:\n")
    assert module_text("bad", tmp_path / "bad.py") == []


def test_which_files_count(tmp_path: Path) -> None:
    names = [
        "a.py",
        "p/__init__.py",
        "p/q.py",
        "p/test/x.py",
        "test/y.py",
        "site-packages/z.py",
        "idlelib/i.py",
        "n.txt",
    ]
    for name in [*names, "lib2to3/tests/data/py2.py", "__pycache__/c.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert list(module_files(tmp_path)) == ["a", "p", "p.q"]


def test_topics(tmp_path: Path) -> None:
    assert topic_texts(tmp_path) == {}
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text("topics = {'if': 'The if '\n 'statement', 'for': '''loop'''}\n")
    assert topic_texts(tmp_path) == {"topic:if": [("", "The if statement")], "topic:for": [("", "loop")]}
