"""What the network writes so far: a text or more at each validation, and how varied that is."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.text import Text

from manyheads import sharded
from manyheads.callbacks.checkpoint import RunCheckpoint
from manyheads.callbacks.metrics_log import write_row
from manyheads.callbacks.progress import metrics_text
from manyheads.callbacks.step import as_lm, is_fitting
from manyheads.decoding.generate import generate
from manyheads.decoding.sampling import Sampling
from manyheads.logger.base import LogsTexts
from manyheads.metric.diversity import Distinct1, Distinct2, Repetition
from manyheads.model.regions import is_compiled

if TYPE_CHECKING:
    from manyheads.lm import LM
    from manyheads.task.base import Shown
    from manyheads.tokenizer.base import Tokenizer

MOST_LINES = 10
MARGIN = "    │ "
ASCII_MARGIN = "    | "

MEASURES = (Distinct1, Distinct2, Repetition)
"""Of the texts that are written at one validation, without their prompts."""


class Samples(pl.Callback):
    """Continues the same prompts with the same seed at each validation, prints the texts and hands them to the loggers that take texts.

    Draws come from generators of their own: the random state of training does not change. How varied the texts are is printed
    below them and logged as `val/sample_<name>`. Few and short texts are all but always varied: compare runs with the same
    callbacks.samples and callbacks.sample_tokens.

    Args:
        prompts: gives what is continued; asked for at the first validation.
        max_new_tokens: how far each is continued.

    Attributes:
        scores: of the texts of each validation, by its optimizer step, and then by the names of MEASURES that they have.
    """

    def __init__(
        self,
        *,
        console: Console,
        tokenizer: Tokenizer,
        prompts: Callable[[], Sequence[Shown]],
        max_new_tokens: int,
        sampling: Sampling,
        seed: int,
    ) -> None:
        self.console = console
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.max_new_tokens = max_new_tokens
        self.sampling = sampling
        self.seed = seed
        self.scores: dict[int, dict[str, float]] = {}
        self._prompts: list[Shown] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The scores, so that a resumed run knows those of its best weights."""
        return {"scores": self.scores}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the scores again."""
        self.scores = dict(state_dict["scores"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the texts, prints them and how varied they are, and logs both."""
        if not is_fitting(trainer) or trainer.sanity_checking:
            return
        if not (trainer.is_global_zero or sharded.is_sharded(pl_module)):
            return
        if self._prompts is None:
            self._prompts = list(self.prompts())
        if not self._prompts:
            return
        with sharded.gathered(pl_module):
            texts = self._continue(pl_module)
        if not trainer.is_global_zero:
            return
        asked = [one.prompt if one.member is None else f"{one.member}: {one.prompt}" for one in self._prompts]
        for prompt, text in zip(asked, texts, strict=True):
            for line in sample_lines(prompt, text, self.console.width, self.console.encoding):
                self.console.print(line, soft_wrap=True)
        self._score(trainer, texts)
        rows = [[trainer.global_step, prompt, text] for prompt, text in zip(asked, texts, strict=True)]
        for logger in trainer.loggers:
            if isinstance(logger, LogsTexts):
                logger.log_text("samples", columns=["step", "prompt", "text"], data=rows, step=trainer.global_step)

    def _score(self, trainer: pl.Trainer, texts: Sequence[str]) -> None:
        found = {metric.name: metric().score(texts) for metric in MEASURES}
        # nan: too few words
        self.scores[trainer.global_step] = known = {
            name: value for name, value in found.items() if not math.isnan(value)
        }
        write_row(trainer, {f"val/sample_{name}": value for name, value in known.items()})
        if known:
            self.console.print(Text(f"    {metrics_text(known)}", style="dim"), soft_wrap=True)

    def _continue(self, pl_module: pl.LightningModule) -> list[str]:
        lm = as_lm(pl_module)
        # every length of the cache would be compiled anew
        with torch.compiler.set_stance("force_eager") if is_compiled(lm.network) else contextlib.nullcontext():
            members = groupby(self._prompts or [], lambda prompt: prompt.member)
            return [text for member, found in members for text in self._written(lm, member, list(found))]

    def _written(self, lm: LM, member: str | None, prompts: Sequence[Shown]) -> list[str]:
        """By the head of one task."""
        sources = [prompt.source for prompt in prompts if prompt.source is not None]
        rows = generate(
            lm.network,
            lm.head if member is None else lm.head.of(member),
            [prompt.ids for prompt in prompts],
            sources=sources or None,
            end_id=self.tokenizer.end_id,
            max_new_tokens=self.max_new_tokens,
            sampling=self.sampling,
            seed=self.seed,
            on_token=lambda row, token: token in prompts[row].ends,
        )
        return [self.tokenizer.decode(row) for row in rows]


def scores_of_best(callbacks: Iterable[pl.Callback]) -> dict[str, float]:
    """How varied the texts are that the best weights wrote at their validation; none where none were written."""
    callbacks = list(callbacks)
    scores = [callback.scores for callback in callbacks if isinstance(callback, Samples)]
    steps = [step for callback in callbacks if isinstance(callback, RunCheckpoint) for step in callback.steps[:1]]
    return {name: value for found in scores for step in steps for name, value in found.get(step, {}).items()}


def sample_lines(prompt: str, continuation: str, width: int, encoding: str = "utf-8") -> list[Text]:
    """The prompt, dim, and what the network wrote after it, as at most `MOST_LINES` lines of at most `width` columns."""
    text = Text(printable(prompt, encoding), style="dim").append(printable(continuation, encoding), style="not dim")
    margin = MARGIN if printable(MARGIN, encoding) == MARGIN else ASCII_MARGIN
    lines = [piece for line in text.split("\n", allow_blank=True) for piece in _wrapped(line, width - len(margin) - 1)]
    # of blank lines in a row one is enough to see
    lines = [line for i, line in enumerate(lines) if line.plain.strip() or (i and lines[i - 1].plain.strip())]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], Text("...")]
    made = [Text(margin, style="bright_black").append_text(line) for line in lines]
    for line in made:
        line.rstrip()
    return made


def _wrapped(line: Text, width: int) -> list[Text]:
    """`line` in pieces of at most `width` characters, cut at spaces where there are any."""
    pieces: list[Text] = []
    while len(line) > width:
        cut = line.plain.rfind(" ", 1, width + 1)
        first, line = line.divide([cut if cut > 0 else width])
        pieces.append(first)
        line = line[1:] if cut > 0 else line
    return [*pieces, line]


def printable(text: str, encoding: str = "utf-8") -> str:
    """`text` with every character replaced that could steer a terminal or that `encoding` lacks; line breaks stay."""
    safe = "".join(c if c == "\n" or c.isprintable() else "    " if c == "\t" else "?" for c in text)
    return safe.encode(encoding, "replace").decode(encoding)
