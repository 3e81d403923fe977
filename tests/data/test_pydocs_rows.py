"""Guards: rows that say the same in two splits, or different rows taken for one."""

from manyheads.data.pydocs_rows import unique


def test_of_rows_with_the_same_letters_the_first_stays() -> None:
    rows = [
        {"a": "Return 1 item.", "b": "x"},
        {"a": "return the item", "b": "y"},
        {"a": "Return  2\nItem!", "b": "z"},
    ]
    assert list(unique(rows, "a")) == rows[:2]
    assert list(unique(rows, "a", "b")) == rows
