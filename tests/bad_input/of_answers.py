"""The faults of what is answered: references, answers in a context, turns; and of what does not fit together."""

from __future__ import annotations

from typing import Any

from .cases import Case, Change, both, everywhere, once, turn

PAIRS = [
    Case(f"{task}: references {fault}", task, says, change)
    for task in ("translation", "summarization")
    for fault, says, change in (
        ("a text", None, everywhere("references", "a reference")),
        ("a list", None, everywhere("references", ["one", "another"])),
        ("an empty list", None, both(everywhere("references", ["one"]), once("references", [], "test", 1))),
        ("null", None, both(everywhere("references", ["one"]), once("references", None, "test", 1))),
        ("empty lists alone", None, everywhere("references", [])),
        ("lists of lists", r"row 0 of train: references=\[\['one'\]\] is neither a text nor a list of texts\. Mend the row",
         everywhere("references", [["one"]])),
        ("a list with null", r"row 1 of test: references=\['one', None\] is neither a text nor a list of texts\. Mend",
         both(everywhere("references", ["one"]), once("references", ["one", None], "test", 1))),
        ("a number", r"row 0 of train: references=7 is neither a text nor", everywhere("references", 7)),
    )
]  # fmt: skip


def answers(texts: Any, starts: Any) -> Any:
    return {"text": texts, "answer_start": starts}


def _shifted(row: dict[str, Any]) -> Any:
    return answers(row["answers"]["text"], [row["answers"]["answer_start"][0] - 2])


def _every(value: Any) -> Change:
    return everywhere("answers", value)


ELSEWHERE = r"12 answers of train do not stand at their answer_start: the nearest place was taken"
ABSENT = r"1 answers of train do not stand in their context: they are scored, and not learned"
COLUMN = r"are \".*\"[.:] (Set data\.columns\.answers to a column of \{text: |text has to be a list of texts, and )"
QUESTIONS = [
    Case(f"{form}: {fault}", form, says, change, words, notes=notes)
    for form in ("qa", "written answers")
    for fault, says, change, words, notes in (
        ("answers elsewhere", None, _every(_shifted), (), ELSEWHERE if form == "qa" else ""),
        ("answer not in the context", None, once("answers", answers(["Paris"], [3])), (), ABSENT if form == "qa" else ""),
        ("answer_start outside", r"answer_start=99 of \"Where does Cleo live\?\" is outside of its context, which has 3\d char",
         once("answers", answers(["Rome"], [99])), (), ""),
        ("fewer starts than texts", COLUMN, once("answers", answers(["Rome", "Oslo"], [3])), (), ""),
        ("one text for answers", COLUMN, _every(answers("Rome", 3)), (), ""),
        ("null answers", r"the answers of \"Where does Cleo live\?\" are \"None\"\. Set data\.columns\.answers",
         once("answers", None), (), ""),
        ("numbers for answers", COLUMN, _every(7), (), ""),
        ("an answer for none", r"\"Where does Cleo live\?\" has no answer, and task\.unanswerable=false\. Leave the row out, or",
         once("answers", answers([], [])), ("task.unanswerable=false",), ""),
        ("an answer for none, which may be", None, once("answers", answers([], [])), (), ""),
        ("no answer at all", r"no question of train has an answer\. Set data\.columns\.answers to",
         both(_every(answers([], [])), once("answers", answers(["Rome"], [3]), "test")), (), ""),
    )
]  # fmt: skip
QUESTIONS += [
    Case("qa: no answer in its context", "qa", r"no answer of train stands in its context\. Set data\.columns\.context and ",
         _every(answers(["Paris"], [3]))),
    Case("qa: question longer than a window", "qa", r"task\.max_tokens=16: a question of 20 tokens leaves no room .*Set task\.max_t",
         words=("task.max_tokens=16",)),
]  # fmt: skip

ASKED, ANSWERED = turn("user", "Where?"), turn("assistant", "There.")


def _talk(*turns: Any) -> Change:
    return once("messages", list(turns))


DIALOGUES = [
    Case(f"chat: {fault}", "chat", says, change)
    for fault, says, change in (
        ("wrong role", r"row 2 of train: messages\[1\]\.role=assistent is none of .* Did you mean 'assistant'\? Mend the row",
         _talk(ASKED, turn("assistent", "There."))),
        ("null role", r"row 2 of train: messages\[0\]\.role=None is none of system, user, assistant", _talk({"content": "a", "role": None})),
        ("two turns of one role", r"row 2 of train: messages\[2\]\.role=assistant follows a turn of the same role: join the two\.",
         _talk(ASKED, ANSWERED, ANSWERED)),
        ("no assistant", r"row 2 of train: messages has no turn of the assistant, so that nothing can be learned\. Mend", _talk(ASKED)),
        ("assistant first", r"row 2 of train: messages\[0\]\.role=assistant: the user speaks first\.", _talk(ANSWERED, ASKED, ANSWERED)),
        ("system in between", r"row 2 of train: messages\[2\]\.role=system: only the first", _talk(ASKED, ANSWERED, turn("system", "a"))),
        ("empty content", r"row 2 of train: messages\[1\]\.content is empty\.", _talk(ASKED, turn("assistant", ""))),
        ("null content", r"row 2 of train: messages\[1\]\.content is no text but null\.", _talk(ASKED, turn("assistant", None))),  # type: ignore[arg-type]
        ("no turn", r"row 2 of train: messages is empty\. Mend the row, or leave it out", _talk()),
        ("null messages", r"row 2 of train: messages is no list of \{role, content\} but null\.", once("messages", None)),
        ("numbers for messages", r"data\.columns\.messages=messages of .* is no list of items with a text content: it holds int64\. Set",
         everywhere("messages", 7)),
        ("texts for messages", r"data\.columns\.messages=messages of .* is no list .*it holds string\. Set", everywhere("messages", "a")),
        ("turns without content", r"data\.columns\.messages=messages of .*an item of it has no content\. Set the column",
         everywhere("messages", [{"role": "user", "text": "a"}])),
    )
]  # fmt: skip

SHORT_ROWS = ("model.positions=learned", "model.max_positions=16")
PAIR = r"task\.max_source_tokens=8 and task\.max_target_tokens=24: rows of up to 24 tokens are longer than .*16 positions\. Set them"
POSITIONS = [
    Case(f"{form}: rows longer than positions", form, says, words=(*SHORT_ROWS, *words))
    for form, says, words in (
        ("generation", r"task\.seq_len=32 is longer than the network's positions\. Set task\.seq_len=16 or less, or model\.max_", ()),
        ("masked", r"task\.seq_len=32 is longer than the network's positions\. Set task\.seq_len=16 or less", ()),
        ("denoising", r"task\.seq_len=16: what is read .* up to 17 positions, and the network has 16\. Set a smaller task\.seq_len",
         ("task.seq_len=16", "task.objective=bart")),
        ("classification", r"task\.max_tokens=256 is longer than the network's positions\. Set task\.max_tokens=16", ()),
        ("written classes", r"task\.max_tokens=16: with the prompt and a class, rows of up to 22 tokens .*Set task\.max_tokens=10 or",
         ("task.max_tokens=16",)),
        ("translation", PAIR, ("task.max_source_tokens=8", "task.max_target_tokens=24")),
        ("summarization", PAIR, ("task.max_source_tokens=8", "task.max_target_tokens=24")),
        ("written answers", PAIR, ("task.max_source_tokens=8", "task.max_target_tokens=24")),
        ("qa", r"task\.max_tokens=384 is longer than the network's positions\.", ()),
        ("chat", r"task\.max_tokens=512 is longer than the network's positions\.", ()),
    )
]  # fmt: skip
POSITIONS.append(
    Case("translation: a prompt and its answer longer than positions", "translation", r"up to 18 tokens are longer than .*16 positions",
         words=("model=tiny", "model.dim=16", "model.num_heads=2", *SHORT_ROWS, "task.max_source_tokens=8"))
)  # fmt: skip

FITS = [
    Case(f"{form}: head={head}", form, rf"head={head} does not fit task={task}\. Set head={fits}", words=(f"head={head}",), files=True)
    for form, task, head, fits in (
        ("generation", "generation", "span", "next_token"),
        ("masked", "masked", "next_token", "masked_token"),
        ("denoising", "denoising", "label", "next_token"),
        ("classification", "classification", "span", "label"),
        ("translation", "translation", "masked_token", "next_token"),
        ("summarization", "summarization", "label", "next_token"),
        ("qa", "qa", "label", "span"),
        ("chat", "chat", "masked_token", "next_token"),
    )
] + [
    Case(f"{form}: model={model}", form, rf"model={model} is {kind}, and head={head} needs .*Set ", words=(f"model={model}",), files=True)
    for form, model, kind, head in (
        ("generation", "encoder", "bidirectional", "next_token"),
        ("masked", "tiny", "causal", "masked_token"),
        ("denoising", "encoder", "bidirectional", "next_token"),
        ("classification", "encoder_decoder", "encoder-decoder", "label"),
        ("translation", "encoder", "bidirectional", "next_token"),
        ("summarization", "encoder", "bidirectional", "next_token"),
        ("qa", "encoder_decoder", "encoder-decoder", "span"),
        ("chat", "encoder", "bidirectional", "next_token"),
    )
]  # fmt: skip
