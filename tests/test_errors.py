import errno
import os

import pytest

from manyheads.errors import (
    Interrupted,
    UserError,
    check_choice,
    check_count,
    check_range,
    did_you_mean,
    explain,
    nearest,
    out_of_memory,
    written,
)


def raised(
    error: BaseException, cause: BaseException | None = None, context: BaseException | None = None
) -> BaseException:
    """The error as it comes out of code that raised it from another, or while it handled another."""
    try:
        try:
            if context is not None:
                raise context
        except BaseException:
            raise error from cause
        raise error from cause
    except BaseException as caught:
        return caught


def test_a_users_mistake_is_found_behind_what_was_raised_from_it() -> None:
    assert explain(raised(RuntimeError("wrapped"), cause=UserError("mine"))) == ("mine", 1)


def test_a_bug_in_the_handling_of_a_mistake_is_not_hidden_by_it() -> None:
    assert explain(raised(KeyError("bug"), context=UserError("mine"))) == (None, 1)


def test_signals() -> None:
    assert explain(Interrupted(15, "resume with x")) == ("resume with x", 143)
    assert explain(KeyboardInterrupt()).code == 130


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_the_disk(number: int) -> None:
    text, code = explain(OSError(number, os.strerror(number), "/some/file"))
    assert code == 1
    assert text is not None
    assert text.startswith("/some/file: ")
    assert explain(OSError(number, "no name"))[0] is not None


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
    ],
)
def test_memory_says_what_to_lower(error: Exception) -> None:
    text, code = explain(error)
    assert code == 1
    assert "task.batch_size" in str(text)
    assert len(str(text).splitlines()) <= 2


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), OSError(errno.ENOENT, "x"), AssertionError()])
def test_anything_else_is_ours(error: Exception) -> None:
    assert explain(error) == (None, 1)


def test_a_mistake_found_in_a_dataloaders_worker_is_told_without_its_traceback() -> None:
    # the shape that torch._utils.ExceptionWrapper gives it
    text = (
        "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\nmanyheads.errors.UserError: data.path=x: say y\n'
    )
    assert explain(UserError(text)).text == "data.path=x: say y"


def test_nearest() -> None:
    assert nearest("lrr", ["lr", "floor", "betas"]) == ["lr"]
    assert did_you_mean("zzz", ["lr"]) == ""


@pytest.mark.parametrize(
    ("value", "low", "high"), [(0, 1, None), (2, None, 1), (float("nan"), 0, 1), (True, 0, 1), ("3", 0, 9)]
)
def test_range(value: float, low: float | None, high: float | None) -> None:
    with pytest.raises(UserError, match=r"optim\.lr="):
        check_range("optim.lr", value, low, high)


def test_choice() -> None:
    check_choice("k", "a", ["a", "b"])
    with pytest.raises(UserError, match="k=c is not one of a, b"):
        check_choice("k", "c", ["a", "b"])


@pytest.mark.parametrize("value", [0, 1.0, True, "2", None])
def test_count(value: object) -> None:
    check_count("k", 1)
    check_count("k", 0, 0)
    with pytest.raises(UserError, match=f"^k={written(value)}: set a whole number of at least 1\\.$"):
        check_count("k", value)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (False, "false"), (0, "0"), ("None", "None"), (1.5, "1.5")]
)
def test_values_are_quoted_as_they_are_typed(value: object, text: str) -> None:
    assert written(value) == text
    with pytest.raises(UserError, match=rf"^x={text}: set a whole number of at least 3\."):
        check_count("x", value, 3)


def test_what_to_lower_is_said_by_who_knows_it() -> None:
    def fail(error: Exception) -> None:
        with out_of_memory("Lower x."):
            raise error

    with pytest.raises(UserError, match=r"^out of memory: 2 GiB more could not be had\.\nLower x\.$"):
        fail(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    with pytest.raises(RuntimeError, match="other"):
        fail(RuntimeError("other"))
