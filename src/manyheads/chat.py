"""The verb `chat`: a talk with a model that has learned dialogues, in the terminal or line by line through a pipe."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO, final

from manyheads.errors import EXIT_DONE, UserError, out_of_memory
from manyheads.generate import OPTION, read_settings

if TYPE_CHECKING:
    from manyheads.load import LoadedLM

HELP = """\
manyheads chat: talk with a model that has learned dialogues (task=chat).

usage: manyheads chat run=FOLDER [KEY=VALUE ...]

In a terminal, each line is a message, and the reply comes as it is written. What was said is read again for each reply;
when it is longer than the model can read at once, the oldest messages and their replies are left out of that, and the
system text stays. Nothing that is typed can pass for another speaker. Through a pipe, each line is answered by its
reply alone. Defaults are in parentheses.

while you talk
  /reset                   begin anew
  /save FILE               write the talk into a new file, as a row that data=json reads
  /quit, Ctrl-D            leave
  Ctrl-C                   stop the reply; what was said of it stays
                           a message that begins with / has a space before it
where from
  run=FOLDER               a run folder (`manyheads runs` lists them) or a checkpoint file
  checkpoint=NAME          best, last or another file of its checkpoints/ (best, or last where there is none)
  device=NAME              cpu, cuda, ... (an accelerator if there is one)
  member=NAME              of a run of several tasks (task=mixture), the one that is asked
  ensemble=[RUN,...]       other runs of the same tokenizer and head: the probabilities of all are averaged
  allow=[MODULE,...]       modules outside manyheads that the run's config may build from; trust them first
  system=TEXT              what the model is told before the first message
how the next token is chosen, in this order
  repetition_penalty=X     above 1: tokens that are there already become less likely (1)
  temperature=X            below 1: surer, above 1: more varied, 0: always the likeliest token (0.8)
  top_k=N                  only the N likeliest tokens
  top_p=P                  only the likeliest tokens that make up the share P of the probability
  min_p=P                  only tokens at least P times as likely as the likeliest
  seed=N                   the same seed gives the same talk (1)
how much
  max_new_tokens=N         at most so many tokens in a reply (200)
  context=N                the most tokens of talk and reply together (as many as in training)
out
  to=FILE                  replies as JSON lines: user, assistant, tokens, finish (end, length or stopped); - is stdout,
                           where nothing else is shown then

examples
  manyheads chat run=outputs/runs/NAME
  manyheads chat run=NAME temperature=0 'system="Answer in one sentence."'
  printf 'Hello\\nWho are you?\\n' | manyheads chat run=NAME to=replies.jsonl

Values follow Hydra's grammar: put quotes inside the shell's around one with a space or a special character.
"""

_COMMANDS = "/reset begins anew, /save FILE keeps the talk, /quit leaves, Ctrl-C stops a reply."


def chat_main(argv: Sequence[str]) -> int:
    """The verb with its arguments; returns the exit code. Raises UserError."""
    if any(word in ("-h", "--help") for word in argv):
        sys.stdout.write(HELP)
        return EXIT_DONE
    for word in argv:
        if not OPTION.match(word):
            raise UserError(
                f"{word}: chat takes KEY=VALUE alone, see `manyheads chat --help`. "
                "Say it when the talk has begun, or pipe it in."
            )
    chat(**read_settings(argv, "chat", ""))
    return EXIT_DONE


def chat(
    *,
    run: str | Path,
    checkpoint: str | None = None,
    device: str | None = None,
    allow: Iterable[str] = (),
    member: str | None = None,
    ensemble: str | Sequence[str] = (),
    system: str | None = None,
    to: str | Path | None = None,
    **options: Any,
) -> None:
    """Talks until the input ends. `options` are those of `LoadedLM.chat`.

    Raises UserError, before the model is loaded where that is possible.
    """
    from manyheads.decoding.options import checked_options
    from manyheads.decoding.reply import ReplyOptions, check_talks
    from manyheads.load import load
    from manyheads.run.output import Output
    from manyheads.threads import set_threads

    checked_options(ReplyOptions, options, "chat")
    out = None if to is None else Output(to, "to", "replies.jsonl")
    set_threads()
    with out_of_memory("Lower context or max_new_tokens."), contextlib.ExitStack() as stack:
        lm = load(run, checkpoint=checkpoint, device=device, allow=allow, member=member, ensemble=ensemble)
        check_talks(lm.tokenizer, run)
        lines = stack.enter_context(out.open()) if out is not None else None
        on_terminal = sys.stdin.isatty() and sys.stdout.isatty() and not (out is not None and out.is_stdout)
        screen = sys.stdout if on_terminal or out is None else None
        talk = Talk(lm, system=system, options=options, screen=screen, lines=lines, on_terminal=on_terminal)
        if on_terminal:
            sys.stdout.write(f"{_COMMANDS}\n")
            _talk_on_terminal(talk)
        else:
            for line in _piped():
                if not talk.hear(line):
                    break
    if out is not None and not out.is_stdout:
        sys.stdout.write(f"{talk.replies} replies in {out.path}\n")


@final
class Talk:
    """A dialogue as far as it has come, and the commands in it.

    Args:
        lm: what answers.
        system: its system turn.
        options: of `LoadedLM.chat`.
        screen: where replies are shown; None: nowhere.
        lines: where they go as JSON lines.
        on_terminal: Ctrl-C stops a reply, not the talk.
    """

    def __init__(
        self,
        lm: LoadedLM,
        *,
        system: str | None,
        options: dict[str, Any],
        screen: TextIO | None,
        lines: IO[str] | None,
        on_terminal: bool,
    ) -> None:
        self.lm, self.options, self.screen, self.lines = lm, options, screen, lines
        self.start: list[dict[str, str]] = [] if system is None else [{"role": "system", "content": system}]
        self.messages = [*self.start]
        self.on_terminal = on_terminal
        self.replies = 0
        self._commands = {"/reset": self._reset, "/save": self._save}

    def hear(self, line: str) -> bool:
        """Answers a message, or does what a command says; False: the talk is over.

        Raises UserError for a message that cannot be read, and for a command that is none; the talk is then as it was.
        """
        word, _, rest = line.rstrip().partition(" ")
        if word == "/quit":
            return False
        if word.startswith("/"):
            if word not in self._commands:
                raise UserError(f"{word} is no command: {_COMMANDS} If it is a message, put a space before it.")
            self._commands[word](rest.strip())
        elif line.strip():
            self._answer(line.strip())
        return True

    def _answer(self, text: str) -> None:
        messages = [*self.messages, {"role": "user", "content": text}]
        said, tokens, finish = "", 0, "stopped"
        try:
            for piece in self.lm.reply(messages, **self.options):
                said, tokens, finish = said + piece.text, piece.tokens, piece.finish or finish
                self._show(piece.text)
        except KeyboardInterrupt:
            if not self.on_terminal:
                raise
        self._show("\n")
        self.replies += 1
        if said.strip():  # an empty turn is none
            self.messages = [*messages, {"role": "assistant", "content": said}]
        if self.lines is not None:
            row = {"user": text, "assistant": said, "tokens": tokens, "finish": finish}
            self.lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            self.lines.flush()

    def _show(self, piece: str) -> None:
        from manyheads.callbacks.samples import printable

        if self.screen is not None:
            # what a model writes must not steer the terminal
            self.screen.write(printable(piece, self.screen.encoding or "utf-8") if self.screen.isatty() else piece)
            self.screen.flush()

    def _reset(self, rest: str) -> None:
        self.messages = [*self.start]

    def _save(self, name: str) -> None:
        from manyheads.run.output import Output

        if not name:
            raise UserError("/save needs the name of a file: /save talk.jsonl")
        if Path(name).expanduser().exists():
            raise UserError(f"/save {name}: it is there already. Name a new file.")
        with Output(name, "/save", "talk.jsonl").open() as file:
            file.write(json.dumps({"messages": self.messages}, ensure_ascii=False) + "\n")


def _talk_on_terminal(talk: Talk) -> None:
    """Reads messages with the terminal's own editing until Ctrl-D; what is wrong is said, and the talk goes on."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  input() edits lines with it where it is there
    while True:
        try:
            line = input("you: ")
            if line.strip() and not line.startswith("/"):
                sys.stdout.write("model: ")
            if not talk.hear(line):
                return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
        except UnicodeDecodeError:
            sys.stdout.write("this is not UTF-8\n")
        except UserError as error:
            sys.stdout.write(f"{error}\n")
        except EOFError:
            sys.stdout.write("\n")
            return


def _piped() -> Iterator[str]:
    """The lines of stdin."""
    try:
        for line in sys.stdin:
            yield line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"the input is not UTF-8 at byte {error.start} of a block: pipe in UTF-8.") from error
