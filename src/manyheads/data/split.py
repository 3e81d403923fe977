"""How splits that a data set does not have are cut from its training split, the same way each time."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from manyheads.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

BATCH_ROWS = 1_000
WINDOW_BYTES = 1 << 27

T = TypeVar("T")

Places = Mapping[str, "range | np.ndarray"]
"""For each split, the rows that it gets."""


def check_fraction(fraction: float) -> None:
    """Raises UserError unless two splits of this fraction leave something to train on; 0 is for data with all splits."""
    if not 0 <= fraction < 0.5:
        raise UserError(f"data.validation_fraction={fraction}: set a number above 0 and below 0.5.")


def check_cut(missing: Sequence[str], fraction: float) -> None:
    """Raises UserError when splits are missing and nothing may be set aside for them."""
    if missing and not fraction:
        raise UserError(
            f"data.validation_fraction={fraction}: the data has no {' and no '.join(missing)} split. "
            "Set a number above 0 and below 0.5, or give the split, e.g. data.path={test: FILE, ...}."
        )


def note(missing: Sequence[str], fraction: float, join_rows: bool) -> str:
    """One sentence for the screen about splits that were cut."""
    how = "the end of the training text" if join_rows else "training rows chosen by the hash of their text"
    each = "each" if len(missing) > 1 else "it"
    return (
        f"no {' or '.join(missing)} split in the data: {fraction:.3g} of train, a row at least, was set aside for {each} "
        f"({how})"
    )


def twice(found: Mapping[str, T]) -> tuple[dict[str, T], list[str]]:
    """Of what each split is read from, validation's as test's too, unless test has its own; and what to say about it.

    Raises UserError where there is no validation split.
    """
    if "test" in found:
        return dict(found), []
    if "validation" not in found:
        raise UserError(
            "data.test_on_validation=true: the data has no validation split. Give one, e.g. data.path={train: FILE, "
            "validation: FILE}, or set data.test_on_validation=false."
        )
    note = "no test split in the data: test is validation once more, not data of its own"
    return {**found, "test": found["validation"]}, [note]


def windows(opened: Callable[[], Dataset]) -> Iterator[Dataset]:
    """The rows that `opened` returns, about `WINDOW_BYTES` of them at a time.

    They are opened anew for each window: what was read of a mapped file before leaves the process's memory then.
    """
    total, window = len(opened()), _window_rows(opened())
    for start in range(0, total, window):
        yield opened().select(range(start, min(start + window, total)))


def _window_rows(rows: Dataset) -> int:
    # by all the rows of the file, of which these may be a part
    return max(1, WINDOW_BYTES * len(rows.data) // max(1, rows.data.nbytes))


def batches_of_text(opened: Callable[[], Dataset], batch_rows: int) -> Iterator[list[str]]:
    """The column "text" of the rows that `opened` returns, in order, null as the empty text."""
    for (texts,) in batches_of(opened, ["text"], batch_rows):
        yield [text or "" for text in texts]


def batches_of(opened: Callable[[], Dataset], columns: list[str], batch_rows: int) -> Iterator[list[list[Any]]]:
    """The values of some columns of the rows that `opened` returns, in order."""
    for rows in windows(opened):
        for batch in rows.select_columns(columns).iter(batch_size=batch_rows):
            assert isinstance(batch, dict)
            yield [batch[column] for column in columns]


def cut(
    opened: Callable[[], Dataset],
    missing: Sequence[str],
    fraction: float,
    *,
    join_rows: bool,
    name: str,
    column: str = "text",
) -> Places:
    """Which rows of the training split go to "train" and to each missing split.

    Joined rows are cut in order: train, then the missing splits in the order given, each about `fraction` of the bytes
    (UTF-8). Other rows go by the hash of their text, so equal rows fall into one split, and a row stays where it is
    when others are added; of rows that are more than a text, the text is `column`. A missing split gets one row at least. Raises UserError when train is left without any.
    """
    check_cut(missing, fraction)
    places = _cut_in_order(opened, missing, fraction) if join_rows else _cut_by_hash(opened, missing, fraction, column)
    if not all(len(place) for place in places.values()):
        splits = " and ".join(missing)
        what = "lines" if join_rows else "rows with different texts"
        raise UserError(
            f"data ({name}): {sum(map(len, places.values()))} row(s) are too few to cut {splits} from. "
            f"Use at least {len(missing) + 1} {what}, or give files of their own, e.g. data.path={{train: FILE, ...}}."
        )
    return places


def _cut_in_order(opened: Callable[[], Dataset], missing: Sequence[str], fraction: float) -> Places:
    sizes = [int(_byte_lengths(rows[:]).sum()) for rows in _arrow_windows(opened)]
    ends = np.cumsum(sizes)  # only sums are kept: memory stays flat however many the rows
    places: dict[str, range | np.ndarray] = {}
    end = len(opened())
    for i, split in enumerate(reversed(missing), start=1):
        target = float(ends[-1]) * (1 - i * fraction) if len(ends) else 0.0
        start = max(0, min(_row_at(opened, ends, target), end - 1)) if len(ends) else 0
        places[split] = range(start, end)
        end = start
    return {"train": range(end)} | {split: places[split] for split in missing}


def _row_at(opened: Callable[[], Dataset], ends: np.ndarray, target: float) -> int:
    """How many rows from the first hold about `target` bytes."""
    window = int(np.searchsorted(ends, target))
    size = _window_rows(opened())
    first = window * size
    before = float(ends[window - 1]) if window else 0.0
    rows = opened().select_columns(["text"]).with_format("arrow")[first : first + size]
    return first + int(np.argmin(np.abs(np.concatenate([[0.0], np.cumsum(_byte_lengths(rows))]) + before - target)))


def _arrow_windows(opened: Callable[[], Dataset]) -> Iterator[Dataset]:
    for rows in windows(opened):
        yield rows.select_columns(["text"]).with_format("arrow")


def _byte_lengths(table: Any) -> np.ndarray:
    import pyarrow.compute as pc

    return pc.fill_null(pc.call_function("binary_length", [table["text"]]), 0).to_numpy()


def _cut_by_hash(opened: Callable[[], Dataset], missing: Sequence[str], fraction: float, column: str) -> Places:
    found = itertools.chain.from_iterable(values for (values,) in batches_of(opened, [column], BATCH_ROWS))
    texts = (value or "" if isinstance(value, str | None) else json.dumps(value, sort_keys=True) for value in found)
    values = np.fromiter(map(unit_hash, texts), dtype=np.float64)
    left = np.unique(values)
    places: dict[str, range | np.ndarray] = {}
    for i, split in enumerate(missing, start=1):
        taken = max(int(np.searchsorted(left, i * fraction)), 1)
        places[split] = np.flatnonzero(np.isin(values, left[:taken]))
        left = left[taken:]
    return {"train": np.flatnonzero(np.isin(values, left))} | places


def unit_hash(text: str) -> float:
    """A number from 0 to 1 that stands for a text."""
    digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48  # 48 bits: exact in a float
