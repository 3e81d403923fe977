from pathlib import Path

from manyheads.run.schema import arguments


def test_reads_a_function_without_importing_it(conf: Path) -> None:
    # the module raises when it is imported
    assert arguments("toys.parts.adam") == {"module": False, "lr": True, "beta": True}


def test_follows_a_reexport_and_a_base_class(conf: Path) -> None:
    assert arguments("toys.Net") == {"vocab_size": False, "dim": True, "norm": True, "heads": True}


def test_what_has_no_source_has_no_arguments(conf: Path) -> None:
    for target in ("", "nowhere.at.all", "toys.parts.absent", "toys.nowhere.f", "sys.exit", "math.sqrt"):
        assert arguments(target) == {}


def test_a_decorator_that_is_given_a_dataclass_adds_its_fields() -> None:
    """Guards: `data.lower_case=true` refused as a key that nothing has, or found only by importing."""
    known = arguments("manyheads.data.pydocs.pydocs")
    assert list(known)[:3] == ["validation_fraction", "unicode_form", "keep_pos"]
    assert all(known.values())
    assert arguments("manyheads.data.hub.hub")["near_duplicates"]
