"""The faults of rows, each for every task that it can happen to, and what is odd and none."""

from __future__ import annotations

from typing import Any

from .cases import FIELDS, FORMS, TEXTS, Case, alone, both, everywhere, once, only, turn, without

TASKS = tuple(FIELDS)


def key(field: str) -> str:
    return r"data\.text_column=text" if field == "text" else rf"data\.columns\.{field}={field}"


def _missing(task: str, field: str) -> Case:
    others = "label" if field == "text" else "text"
    return Case(f"{task}: no {field}", task, rf"{key(field)} is no column of .* It has: .*\b{others}\b", without(field))


def _numbers(task: str, field: str) -> Case:
    return Case(
        f"{task}: numbers for {field}",
        task,
        rf"{key(field)} of .* holds no text but int64\. Columns with text: ",
        everywhere(field, 7),
    )


EMPTY = {
    "text": r"1 of 12 rows of train are empty and left out",
    "source": r"1 of 12 sources of train are empty",
    "target": r"1 of 12 targets of train are empty",
    "document": r"1 of 12 sources of train are empty",
    "summary": r"1 of 12 targets of train are empty",
}
"""What is counted of rows whose field is empty."""
REFUSED = {
    "context": r"answer_start=\d+ of \"Where does Cleo live\?\" is outside of its context, .*mend or leave out the row",
    "question": r"the question on \"Cleo lives in .*\" is empty\. Mend or leave out the row, or set data\.columns\.question",
}


def _empty(task: str, field: str, value: str | None) -> Case:
    notes = "" if task == "classification" else EMPTY.get(field, "")
    what = "null" if value is None else "empty"
    return Case(f"{task}: {what} {field}", task, REFUSED.get(field), once(field, value), notes=notes)


ODD = {"astral": "\U0001f600 \U00010348", "combining": "e\u0301\u0323 n\u0303", "NUL": "a\x00b"}


def _unicode(task: str, text: str) -> Any:
    """Signs of many kinds in every text that a task reads."""
    changes = [once(field, f"{text} Ada {text}", split, 1) for field in TEXTS[task] for split in ("train", "test")]
    talk = [turn("user", text), turn("assistant", text)]
    answers = {"text": ["Ada"], "answer_start": [len(text) + 1]}
    more = {
        "chat": once("messages", talk),
        "qa": both(once("answers", answers, "train", 1), once("answers", answers, "test", 1)),
    }
    return both(*changes, *([more[task]] if task in more else []))


def _surrogate(task: str) -> Any:
    field = FIELDS[task][0]
    return once(field, [turn("user", "\ud800"), turn("assistant", "a")] if task == "chat" else "a \ud800 b")


TEXT = [
    *(_missing(task, field) for task in TASKS for field in FIELDS[task]),
    *(_numbers(task, field) for task in TASKS for field in TEXTS[task]),
    *(_empty(task, field, value) for task in TASKS for field in TEXTS[task] for value in (None, "")),
    *(Case(f"{task}: {name}", task, None, _unicode(task, text)) for task in TASKS for name, text in ODD.items()),
    *(
        Case(
            f"{task}: lone surrogate",
            task,
            r"data\.path=.*train\.jsonl cannot be read as json: .*surrogate.* in row 2\. Mend the file or set another",
            _surrogate(task),
            files=True,
        )
        for task in TASKS
    ),
    *(Case(f"{task}: other columns", task, None) for task in FORMS),
    *(
        Case(f"{task}: one row in all", task, r"data \(.*\): 1 row\(s\) are too few .*Use at least 3 rows", alone(1))
        for task in TASKS
    ),
    *(Case(f"{task}: one row in train", task, None, only("train", 1)) for task in TASKS if task != "classification"),
    *(
        Case(
            f"{task}: file empty",
            task,
            r"data\.path=.*train\.jsonl is empty\. It is all there is for train\. Set data\.path",
            only("train", 0),
            files=True,
        )
        for task in TASKS
    ),
]

CLASSES = [
    Case(f"{form}: {fault}", form, says, change, words, files=any(word.startswith("data.") for word in words))
    for form in ("classification", "written classes")
    for fault, says, change, words in (
        ("label of test that train lacks", r"row 1 of test: label=evn is none of the 2 classes .*: even, odd\. Did you mean 'even'\? Mend the row",
         once("label", "evn", "test", 1), ()),
        ("label outside of task.labels", r"row 0 of train: label=odd is none of the 2 classes of train or task\.labels: even, third\. Mend",
         once("label", "odd"), ("task.labels=[even,third]",)),
        ("one label in task.labels", r"task\.labels=\[even\] has one class alone, even\. Set two", lambda splits: None, ("task.labels=[even]",)),
        ("label outside of data.labels", r"data\.labels=\[a,b\] names 2 classes, and there is a label 5\. Set a name for each number",
         both(everywhere("label", 1), once("label", 5)), ("data.labels=[a,b]",)),
        ("data.labels of texts", r"data\.labels=\[a,b\] names classes that are numbers, and the column label holds string\. Set data\.labels=null",
         lambda splits: None, ("data.labels=[a,b]",)),
        ("label below 0", r"row 2 of train: label=-1 is none of the 2 classes .*: a, b\. Mend",
         both(everywhere("label", 1), once("label", -1)), ("data.labels=[a,b]",)),
        ("labels that are fractions", r"a label is a whole number or a text, and the column label holds float\. Set data\.columns\.label to",
         everywhere("label", lambda row: len(row["text"]) / 2), ()),
        ("labels of another type in test", r"row 0 of test: label=\w+ is none of the 2 classes .*: 0, 1\. Mend",
         lambda splits: [one.update(label=number % 2) for split in ("train", "validation") for number, one in enumerate(splits[split])], ()),
        ("lists of labels in test", r"row 0 of test: label=\['a', 'b'\] is no single class: .* Mend the row",
         lambda splits: [one.update(label=["a", "b"]) for one in splits["test"]], ()),
        ("one class only", r"data \(.*\): train has one class alone, odd\. Set two classes or more", everywhere("label", "odd"), ()),
        ("one row in train", r"data \(.*\): train has one class alone, odd\.", only("train", 1), ()),
        ("null label", r"row 2 of train has no label\. Leave it out, or mend it", once("label", None), ()),
        ("null label in test", r"row 1 of test: label=null names no class\. Mend the row, or leave it out", once("label", None, "test", 1), ()),
        ("numbers for text_pair", r"row 0 of train: text_pair=7 is no text\. Mend the row", everywhere("text_pair", 7), ()),
        ("null text_pair", None, both(everywhere("text_pair", "a"), once("text_pair", None)), ()),
        ("one class only in test", None, lambda splits: [one.update(label="odd") for one in splits["test"]], ()),
        ("labels that are numbers", None, everywhere("label", lambda row: len(row["text"]) % 2), ()),
    )
]  # fmt: skip
