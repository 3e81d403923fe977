"""Guards the verb: what is shown and kept of a talk, what a terminal is sent, what a pipe gets, what is said when something is
wrong."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from manyheads.build import CONF_DIR
from manyheads.callbacks.samples import printable
from manyheads.chat import HELP, Talk, chat, chat_main
from manyheads.decoding.reply import ReplyOptions, ReplyPiece
from manyheads.errors import UserError
from manyheads.load import load
from manyheads.testing import TINY_CONFIG, byte_tokenizer, tiny_run
from manyheads.tokenizer.chat_template import with_markers

KEYS = {
    "run",
    "checkpoint",
    "device",
    "member",
    "ensemble",
    "allow",
    "system",
    "to",
    *ReplyOptions.__dataclass_fields__,
}
CONFIG = TINY_CONFIG.replace(
    "manyheads.task.generation.Generation, seq_len: 16", "manyheads.task.chat.Chat, max_tokens: 64"
)
SHORT = {"device": "cpu", "max_new_tokens": 6}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a chat with random weights."""
    folder = tmp_path_factory.mktemp("runs") / "talks"
    return tiny_run(folder, CONFIG, checkpoints={"last": 0}, tokenizer=with_markers(byte_tokenizer()))


def turns(*said: str, system: str | None = None) -> list[dict[str, str]]:
    found = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    return [*([{"role": "system", "content": system}] if system else []), *found]


# the command line


def test_the_yaml_and_the_signature_and_the_help_have_the_same_keys() -> None:
    named = {name for name, p in inspect.signature(chat).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert named | set(ReplyOptions.__dataclass_fields__) == KEYS
    assert set(OmegaConf.load(CONF_DIR / "chat.yaml")) == KEYS  # type: ignore[arg-type]
    helped = {line.split("=")[0].strip() for line in HELP.splitlines() if line.startswith("  ") and "=" in line[:24]}
    assert helped >= KEYS


def test_the_help_states_the_true_defaults_and_fits_a_page() -> None:
    for field in dataclasses.fields(ReplyOptions):
        if isinstance(field.default, int | float):
            [line] = [line for line in HELP.splitlines() if line.startswith(f"  {field.name}=")]
            assert line.endswith(f"({field.default:g})")
    assert max(map(len, HELP.splitlines())) <= 120


def test_the_help_needs_neither_torch_nor_hydra() -> None:
    code = "import sys; from manyheads.chat import chat_main; chat_main(['--help']); "
    code += "print({'torch', 'hydra', 'omegaconf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == HELP + "set()\n"


@pytest.mark.parametrize(
    ("argv", "wrong"),
    [
        ([], "run is not set: add run=FOLDER"),
        (["run=a", "temprature=1"], "temprature=1: chat has no key temprature. Did you mean 'temperature'?"),
        (["run=a", "num_beams=2"], "num_beams=2: chat has no key num_beams."),
        (["run=a", "seed=(!"], "seed=(!: this is not one value in Hydra's grammar."),
        (["run=a", "hello"], "hello: chat takes KEY=VALUE alone, see `manyheads chat --help`."),
        (["run=nowhere"], "run=nowhere: there is no such folder."),
        (["run=a", "temperature=hot"], "temperature=hot: set a number of at least 0."),
        (["run=a", "to=nowhere/x.jsonl"], "to=nowhere/x.jsonl: there is no folder nowhere."),
    ],
)
def test_a_mistake_on_the_command_line_is_named(argv: list[str], wrong: str) -> None:
    with pytest.raises(UserError) as caught:
        chat_main(argv)
    assert str(caught.value).startswith(wrong)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_run_that_learned_no_dialogues_is_told_what_to_do(tmp_path: Path) -> None:
    other = tiny_run(tmp_path / "texts", checkpoints={"last": 0})
    for ask in (lambda: chat(run=other), lambda: load(other).chat(turns("a"))):
        with pytest.raises(UserError) as caught:
            ask()
        assert str(caught.value) == (
            f"{other} has learned no dialogues. Train a run with `manyheads train task=chat`, or let this one write with "
            "`manyheads generate`."
        )


def test_an_unknown_option_in_python_is_told_with_the_nearest(run: Path) -> None:
    with pytest.raises(UserError, match=r"temprature is no option of chat\. Did you mean 'temperature'\?"):
        load(run, device="cpu").chat(turns("a"), temprature=1)  # type: ignore[call-arg]
    with pytest.raises(UserError, match=r"stop is no option of chat"):
        chat(run=run, stop="x")


# through a pipe


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def pipe(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))

    return pipe


def test_each_line_is_answered_by_a_line(run: Path, piped: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The second reply is one to the whole talk."""
    piped("hé\n\nwho\n/reset\nhé\n".encode())
    chat(run=run, temperature=0, **SHORT)
    lm = load(run, device="cpu")
    first = lm.chat(turns("hé"), temperature=0, max_new_tokens=6)
    talk = turns("hé", first, "who") if first.strip() else turns("who")
    second = lm.chat(talk, temperature=0, max_new_tokens=6)
    assert capsys.readouterr().out == f"{first}\n{second}\n{first}\n"


def test_replies_go_to_a_file_as_json_lines(run: Path, piped: Any, tmp_path: Path, capsys: Any) -> None:
    piped(b"a\nb\n/quit\nc\n")
    out = tmp_path / "replies.jsonl"
    chat(run=run, to=out, system="s", **SHORT)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["user"] for row in rows] == ["a", "b"]
    assert list(rows[0]) == ["user", "assistant", "tokens", "finish"]
    assert rows[0]["assistant"] == load(run, device="cpu").chat(turns("a", system="s"), max_new_tokens=6)
    assert capsys.readouterr().out == f"2 replies in {out}\n"


def test_json_lines_on_stdout_stand_there_alone(run: Path, piped: Any, capsys: pytest.CaptureFixture[str]) -> None:
    piped(b"a\n")
    chat(run=run, to="-", **SHORT)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["user"] == "a"


def test_input_that_is_not_utf8_is_told(run: Path, piped: Any) -> None:
    piped(b"a\xff\n")
    with pytest.raises(UserError, match=r"the input is not UTF-8 at byte 1 of a block"):
        chat(run=run, **SHORT)


# the talk


class Says:
    """A model that says pieces, and breaks off with an exception where one stands among them."""

    def __init__(self, *replies: Sequence[Any]) -> None:
        self.replies = list(replies)
        self.heard: list[list[dict[str, str]]] = []

    def reply(self, messages: list[dict[str, str]], **options: Any) -> Iterator[ReplyPiece]:
        self.heard.append(messages)
        pieces = self.replies.pop(0)
        for count, piece in enumerate(pieces, 1):
            if not isinstance(piece, str):
                raise piece
            yield ReplyPiece(piece, count, "end" if count == len(pieces) else None)


class Screen(io.StringIO):
    """Stands for a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Screen:
    return Screen()


def talk_with(model: Says, screen: Any = None, system: str | None = None) -> Talk:
    on_terminal = isinstance(screen, Screen)
    return Talk(model, system=system, options={}, screen=screen, lines=None, on_terminal=on_terminal)  # type: ignore[arg-type]


def test_the_whole_talk_is_read_for_each_reply(terminal: Screen) -> None:
    model = Says(["hi", "!"], ["fine"], ["new"])
    talk = talk_with(model, terminal, system="s")
    for line in ("hello", "how are you?", "/reset", "again"):
        assert talk.hear(line)
    assert model.heard == [
        turns("hello", system="s"),
        turns("hello", "hi!", "how are you?", system="s"),
        turns("again", system="s"),
    ]
    assert terminal.getvalue() == "hi!\nfine\nnew\n"


def test_a_reply_that_is_stopped_stays_as_far_as_it_came(terminal: Screen) -> None:
    model = Says(["one", KeyboardInterrupt()], [KeyboardInterrupt()], ["ok"])
    talk = talk_with(model, terminal)
    for line in ("a", "b", "c"):
        talk.hear(line)
    # "b" got no word of a reply, so that neither is in the talk
    assert model.heard[-1] == turns("a", "one", "c")
    assert terminal.getvalue() == "one\n\nok\n"


def test_without_a_terminal_an_interrupt_ends_the_process() -> None:
    with pytest.raises(KeyboardInterrupt):
        talk_with(Says(["one", KeyboardInterrupt()])).hear("a")


def test_what_a_model_writes_does_not_steer_the_terminal(terminal: Screen) -> None:
    talk_with(Says(["\x1b[2J\x9b1m", "\u202eabc\r\x07\tx"]), terminal).hear("a")
    assert terminal.getvalue() == "?[2J?1m?abc??    x\n"


def test_a_pipe_gets_what_the_model_wrote() -> None:
    screen = io.StringIO()
    talk_with(Says(["\x1b[2J"]), screen).hear("a")
    assert screen.getvalue() == "\x1b[2J\n"


def test_a_talk_is_saved_as_a_row_that_can_be_trained_on(tmp_path: Path) -> None:
    from manyheads.tokenizer.chat_template import fault

    talk = talk_with(Says(["hé"]), system="s")
    talk.hear("hello")
    file = tmp_path / "my talk.jsonl"
    talk.hear(f"/save {file}")
    row = json.loads(file.read_text(encoding="utf-8"))
    assert row == {"messages": turns("hello", "hé", system="s")}
    assert fault(row["messages"]) is None
    with pytest.raises(UserError, match=r"it is there already\. Name a new file\."):
        talk.hear(f"/save {file}")
    with pytest.raises(UserError, match=r"/save needs the name of a file: /save talk\.jsonl"):
        talk.hear("/save")


def test_commands_that_are_none_are_told_and_a_space_makes_a_message() -> None:
    model = Says(["ok"])
    talk = talk_with(model)
    with pytest.raises(UserError, match=r"/rest is no command: /reset begins anew"):
        talk.hear("/rest")
    assert not talk.hear("/quit")
    assert talk.hear(" /rest is a word")
    assert talk.hear("  ")
    assert model.heard == [turns("/rest is a word")]


# in a terminal


class Pair:
    """Both ends of a pseudo terminal, without echo."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        settings = termios.tcgetattr(slave)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        self.input, self.output = open(slave, encoding="utf-8"), open(os.dup(slave), "w", encoding="utf-8")  # noqa: SIM115

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def shown(self) -> str:
        self.output.flush()
        found = b""
        while select.select([self.master], [], [], 0.05)[0]:
            found += os.read(self.master, 65536)
        return found.decode().replace("\r\n", "\n")

    def close(self) -> None:
        self.input.close()
        self.output.close()
        os.close(self.master)


@pytest.fixture
def pair() -> Iterator[Pair]:
    found = Pair()
    yield found
    found.close()


def test_a_talk_in_a_terminal(run: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed is asked for, commands and mistakes are answered, Ctrl-D leaves."""
    pair.types("a\n/nonsense\nb\n\x04")
    lm = load(run, device="cpu")
    with monkeypatch.context() as patch:  # here, since the capture of output sets them between a fixture and its test
        patch.setattr(sys, "stdin", pair.input)
        patch.setattr(sys, "stdout", pair.output)
        assert chat_main([f"run={run}", "device=cpu", "max_new_tokens=4", "temperature=0"]) == 0
    first = lm.chat(turns("a"), temperature=0, max_new_tokens=4)
    second = lm.chat(turns("a", first, "b") if first.strip() else turns("b"), temperature=0, max_new_tokens=4)
    start, *rest = pair.shown().split("you: ")
    assert start == "/reset begins anew, /save FILE keeps the talk, /quit leaves, Ctrl-C stops a reply.\n"
    assert rest[0] == f"model: {printable(first)}\n"
    assert rest[1].startswith("/nonsense is no command: ")
    assert rest[2] == f"model: {printable(second)}\n"
    assert rest[3] == "\n"


@pytest.mark.slow
def test_a_whole_process_in_a_terminal_ends_with_0(run: Path) -> None:
    """With the terminal's own line editing; the first line is typed when it is asked for."""
    master, slave = pty.openpty()
    words = [sys.executable, "-m", "manyheads", "chat", f"run={run}", "device=cpu", "max_new_tokens=4"]
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    shown = b""

    def until(text: bytes, times: int) -> None:
        nonlocal shown
        while shown.count(text) < times:
            assert select.select([master], [], [], 60)[0], shown
            shown += os.read(master, 65536)

    until(b"you: ", 1)
    os.write(master, b"hello\n")
    until(b"you: ", 2)  # only then the terminal's line editing is there to hear of the end
    os.write(master, b"\x04")
    assert process.wait(60) == 0
    os.close(master)
