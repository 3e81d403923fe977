"""What a case is: a fault planted in the rows of a task, or in how the task is set, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
Splits = dict[str, Rows]
Change = Callable[[Splits], object]

NETWORKS = {
    "tiny": ("model.dim=16", "model.num_layers=1", "model.num_heads=2"),
    "encoder": ("model.dim=16", "model.num_layers=1", "model.num_heads=2"),
    "encoder_decoder": ("model.dim=16", "model.num_layers=1", "model.num_encoder_layers=1", "model.num_heads=2"),
}
SHORT = ("task.max_target_tokens=8", "task.num_beams=1")
ROW = ("task.seq_len=32",)

FORMS = {
    "generation": ("generation", "next_token", "tiny", ROW),
    "masked": ("masked", "masked_token", "encoder", (*ROW, "task.pseudo_perplexity_texts=1")),
    "denoising": ("denoising", "next_token", "encoder_decoder", ROW),
    "classification": ("classification", "label", "encoder", ()),
    "written classes": ("classification", "next_token", "tiny", ()),
    "translation": ("translation", "next_token", "encoder_decoder", SHORT),
    "summarization": ("summarization", "next_token", "encoder_decoder", SHORT),
    "qa": ("qa", "span", "encoder", ()),
    "written answers": ("qa", "next_token", "encoder_decoder", SHORT),
    "chat": ("chat", "next_token", "tiny", ()),
}
"""Each task with a head and a network that it can use, and settings that keep it small."""

TEXTS = {
    "generation": ("text",),
    "masked": ("text",),
    "denoising": ("text",),
    "classification": ("text",),
    "translation": ("source", "target"),
    "summarization": ("document", "summary"),
    "qa": ("context", "question"),
    "chat": (),
}
OTHERS = {"classification": ("label",), "qa": ("answers",), "chat": ("messages",)}
FIELDS = {task: (*texts, *OTHERS.get(task, ())) for task, texts in TEXTS.items()}
"""The columns that each task must have."""


@dataclass(frozen=True)
class Case:
    """One fault of a task's rows, or something odd that is none.

    Attributes:
        id: what is wrong.
        form: one of FORMS.
        says: what stderr must match: the key, its value, what to set; None: it works.
        change: plants it in good rows.
        words: further settings; a head or a network among them takes the place of the form's.
        notes: what the notes of a run that works must match.
        files: only a run can find it, since rows in memory know nothing of files.
    """

    id: str
    form: str
    says: str | None
    change: Change = lambda splits: None
    words: tuple[str, ...] = ()
    notes: str = ""
    files: bool = False

    @property
    def settings(self) -> list[str]:
        """The task, its head, its network and what is set of them."""
        task, head, model, more = FORMS[self.form]
        chosen = {"head": head, "model": model} | dict(
            word.split("=", 1) for word in self.words if word.startswith(("head=", "model="))
        )
        left = [word for word in self.words if not word.startswith(("head=", "model="))]
        network = NETWORKS[model] if chosen["model"] == model else ()
        return [f"task={task}", f"head={chosen['head']}", f"model={chosen['model']}", *network, *more, *left]


def good() -> Splits:
    """Rows that every task can be learned from, each with columns that most tasks do not read."""
    return {split: [row(number) for number in numbers] for split, numbers in PLACES.items()}


PLACES = {"train": range(12), "validation": range(12, 15), "test": range(15, 19)}
NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo"]
TOWNS = ["Rome", "Oslo", "Lima", "Bonn", "Kyiv", "Cork", "Pune", "Nice"]


def row(number: int) -> dict[str, Any]:
    name, town = NAMES[number % 8], TOWNS[(number * 3) % 8]
    context = f"{name} lives in {town}. It rains there."
    return {
        "text": context,
        "label": "even" if number % 2 else "odd",
        "source": f"{name} {town}",
        "target": f"{town} {name}",
        "document": context,
        "summary": f"{name} in {town}",
        "context": context,
        "question": f"Where does {name} live?",
        "answers": {"text": [town], "answer_start": [context.index(town)]},
        "messages": [turn("user", f"Where does {name} live?"), turn("assistant", f"In {town}.")],
        "extra": {"number": number, "more": [number]},
    }


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def everywhere(field: str, value: Any) -> Change:
    """The same value in each row of all splits; a function of the row gives each its own."""

    def change(splits: Splits) -> None:
        for one in (one for rows in splits.values() for one in rows):
            one[field] = value(one) if callable(value) else value

    return change


def once(field: str, value: Any, split: str = "train", place: int = 2) -> Change:
    """A value in one row."""

    def change(splits: Splits) -> None:
        splits[split][place][field] = value

    return change


def without(field: str) -> Change:
    def change(splits: Splits) -> None:
        for one in (one for rows in splits.values() for one in rows):
            del one[field]

    return change


def both(*changes: Change) -> Change:
    return lambda splits: [change(splits) for change in changes]


def only(split: str, count: int) -> Change:
    """So many rows in a split."""
    return lambda splits: splits.update({split: splits[split][:count]})


def alone(count: int) -> Change:
    """So many rows in all, in train."""

    def change(splits: Splits) -> None:
        rows = splits["train"][:count]
        splits.clear()
        splits["train"] = rows

    return change


def written(splits: Mapping[str, Rows], folder: Path) -> Path:
    """The rows as files of a folder; a lone surrogate is written as JSON spells it."""
    folder.mkdir()
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return folder
