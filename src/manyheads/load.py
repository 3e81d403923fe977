"""A trained language model from a run folder or a checkpoint file, which holds all that is needed to rebuild it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, overload

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from manyheads.build import target_of
from manyheads.data.given import columns_of, given_rows
from manyheads.data.source import Source
from manyheads.decoding import scoring, text
from manyheads.decoding.options import Options, OptionValues, checked_options
from manyheads.decoding.reply import ReplyOptions, ReplyPiece, ReplyValues, check_talks, reply
from manyheads.decoding.scoring import Score
from manyheads.ensemble import read_saved, runs_of, together
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.marks import callable_module
from manyheads.members import member_of
from manyheads.rebuild import build_task
from manyheads.run.checkpoint import CHECKPOINTS, settle_threshold
from manyheads.task.base import Prediction, Task
from manyheads.task.layouts import LAYOUTS, PLACE, READ_APART
from manyheads.task.translation import tag_of
from manyheads.tokenizer.base import Tokenizer

_ASK = "Ask it with `manyheads predict` or `lm.predict`."


class LoadedLM:
    """A network, its head and its tokenizer, ready to write and to score text.

    Attributes:
        network, head: the modules, in eval mode.
        tokenizer: the one they were trained with.
        config: the run's resolved config.
        checkpoint: the file that the weights came from.
        record: what else the checkpoint says about the run: step, provenance, version.
        member: of a run with several tasks, the one that is asked.
        context: how many tokens the network read at once in training; None when the config does not say.
        notes: what there is to say about the rows that were answered last, such as how many were cut.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        head: Head,
        tokenizer: Tokenizer,
        config: DictConfig,
        checkpoint: Path,
        record: dict[str, Any],
        member: str | None = None,
    ) -> None:
        self.network = network
        self.head = head
        self.tokenizer = tokenizer
        self.config = config
        self.checkpoint = checkpoint
        self.record = record
        self.member = member
        self.notes: list[str] = []
        limits = [OmegaConf.select(config, key) for key in ("task.seq_len", "task.max_tokens")] + [
            network.max_positions
        ]
        self.context: int | None = min((limit for limit in limits if isinstance(limit, int)), default=None)

    @property
    def folder(self) -> Path | None:
        """The run folder, or None when the checkpoint stands alone."""
        return self.checkpoint.parent.parent if self.checkpoint.parent.name == CHECKPOINTS else None

    @overload
    def generate(self, prompt: str = "", *, num_samples: None = None, **options: Unpack[OptionValues]) -> str: ...
    @overload
    def generate(self, prompt: str = "", *, num_samples: int, **options: Unpack[OptionValues]) -> list[str]: ...
    @overload
    def generate(
        self, prompt: Sequence[str], *, num_samples: None = None, **options: Unpack[OptionValues]
    ) -> list[str]: ...
    @overload
    def generate(
        self, prompt: Sequence[str], *, num_samples: int, **options: Unpack[OptionValues]
    ) -> list[list[str]]: ...

    def generate(
        self, prompt: str | Sequence[str] = "", *, num_samples: int | None = None, **options: Unpack[OptionValues]
    ) -> str | list[str] | list[list[str]]:
        """What the model writes after the prompt, without the prompt.

        For a list of prompts a list of texts; with `num_samples`, a list of so many texts in the place of each text.

        Options, with their defaults: max_new_tokens=100, temperature=0.8 (0: always the likeliest token), top_k=None,
        top_p=None, min_p=None, repetition_penalty=1.0, no_repeat_ngram=0 (n: no n tokens appear twice in a row), seed=1
        (the same seed gives the same text), stop=() (texts that end a sample and are left out), context=None (most tokens
        read at once; None: as many as in training), batch_size=16.

        With `num_beams` above 1 the likeliest text is searched for (see `beam_search`), with length_penalty=1.0 and
        early_stopping=False (True or "never"); nothing is drawn, and `num_samples` texts are the best so many, the best first,
        or fewer where fewer are possible. `choices` is a list of texts of which it becomes one, `regex` an expression that it
        matches (see `Choices` and `Regex`), drawn or searched for.
        Raises UserError for a value out of range, and for two that do not go together.
        """
        prompts = text.texts("prompt", prompt)
        each = 1 if num_samples is None else num_samples
        groups: list[list[str]] = [[] for _ in prompts]
        for sample in self.samples(prompts, num_samples=each, **options):
            groups[sample.place].append(sample.text)
        found = groups if num_samples is not None else [group[0] for group in groups]
        return found[0] if isinstance(prompt, str) else found

    def stream(self, prompt: str = "", **options: Unpack[OptionValues]) -> Iterator[str]:
        """The pieces of the text that `generate` would return, as they come; never half a character."""
        prompts, chosen = text.texts("prompt", prompt, one=True), self._options(options)
        for piece in text.pieces(self.network, self.head, self.tokenizer, prompts, chosen, self._as_source()):
            if piece.text:
                yield piece.text

    def samples(
        self, prompts: Sequence[str], *, num_samples: int = 1, **options: Unpack[OptionValues]
    ) -> Iterator[text.Sample]:
        """Each text with its prompt, its number, its tokens, why it ended and, of a search, its score, in order; options
        as for `generate`."""
        chosen = self._options(options, num_samples)
        prompts, as_source = text.texts("prompts", prompts), self._as_source()
        return text.samples(self.network, self.head, self.tokenizer, prompts, chosen, as_source)

    def predict(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What the run's task says of each row, a mapping from its columns to values, in order; targets may be left out.

        Each answer has id (the row's number), input and output, of classes probabilities, and where the row has a target,
        target, loss and score; of generation, input, loss, tokens, bytes and bits_per_byte. Raises UserError.
        """
        columns = columns_of(OmegaConf.to_container(self.config.get("data") or OmegaConf.create()))  # type: ignore[arg-type]
        return [dict(line) for line in self.answers(given_rows(rows, columns))]

    def answers(self, source: Source, config: DictConfig | None = None) -> Iterator[Prediction]:
        """What `predict` says of the test split of a source, as it comes; by the task settings of another config, if given."""
        cfg = OmegaConf.merge({"seed": 1, "allow": []}, config or self.config)
        assert isinstance(cfg, DictConfig)
        if "task" not in cfg:
            raise UserError(f"the config in {self.checkpoint} names no task: it is not that of a whole run.")
        member_of(cfg, None, "predict")
        settle_threshold(cfg, self.record, self.member)
        source.ask(target_of(cfg.task, "task", cfg.allow).asked)  # type: ignore[attr-defined]
        return self._told(build_task(cfg, source, self.tokenizer))

    def _told(self, task: Task) -> Iterator[Prediction]:
        """The answers of a task; behind the last one, what there is to say about the rows."""
        yield from task.answers(self.network, self.head)
        self.notes = task.answer_notes

    def chat(self, messages: Sequence[Mapping[str, str]], **options: Unpack[ReplyValues]) -> str:
        """What the assistant says next in a dialogue: a list of {"role", "content"} that ends with a user's turn.

        Options, with their defaults: max_new_tokens=200, temperature=0.8 (0: always the likeliest token), top_k=None, top_p=None,
        min_p=None, repetition_penalty=1.0, seed=1, context=None (most tokens of history and reply; None: as many as in
        training). Of a longer history the first exchanges are left out, and the system turn stays. No message can forge a
        marker. Raises UserError for a run that learned no dialogues, messages that are none, and a value out of range.
        """
        return "".join(piece.text for piece in self.reply(messages, **options))

    def reply(self, messages: Sequence[Mapping[str, str]], **options: Unpack[ReplyValues]) -> Iterator[ReplyPiece]:
        """The pieces of what `chat` would return, as they come; with the last one, why it ended: "end" or "length"."""
        check_talks(self.tokenizer, self.folder or self.checkpoint)
        self.reads_source("chat")
        chosen = checked_options(ReplyOptions, options, "chat")
        if chosen.context is None:
            chosen = dataclasses.replace(chosen, context=self.context)
        return reply(self.network, self.head, self.tokenizer, messages, chosen)

    def score(self, texts: str | Sequence[str], *, stride: int | None = None, batch_size: int = 16) -> Score:
        """How well the model predicts the texts, each a document of its own; counted as the test figures are.

        The end of each text is predicted and counted. A text longer than `context` is cut into windows of that length;
        with `stride` they overlap, and each moves on by so many tokens. Empty texts count nothing.
        """
        texts = text.texts("texts", texts)
        if self.reads_source("score"):
            raise UserError(f"score: the network reads a source besides a text. {_ASK}")
        ids = [text.encode(self.tokenizer, each) for each in texts if each]
        if not ids:
            raise UserError("score: there is no text to score. Give at least one that is not empty.")
        loss_sum, tokens = scoring.score(
            self.network,
            self.head,
            ids,
            end_id=self.tokenizer.end_id,
            seq_len=self.context,
            stride=stride,
            batch_size=batch_size,
        )
        return Score(loss_sum, tokens, sum(len(each.encode()) for each in texts))

    def reads_source(self, what: str = "generate") -> bool:
        """Whether a prompt is what an encoder reads, and no beginning of a text. Raises UserError when no text is written."""
        if not hasattr(self.network, "new_cache") or not hasattr(self.head, "logits"):
            member_of(self.config, None, what)
            raise UserError(f"{what}: {type(self.head).__name__}, the head of this run, writes no text. {_ASK}")
        apart = self.network.kind in READ_APART
        if apart and what == "generate":
            self._check_untagged()
        return apart

    def _check_untagged(self) -> None:
        """Raises UserError for a run whose sources begin with a language that a prompt does not name."""
        known = self.config.task.get("languages") or []
        if asked := [name for name in known if self.tokenizer.backend.token_to_id(tag_of(name)) is not None]:
            raise UserError(
                f"generate: before a source, this run was told which language is asked for, one of {', '.join(asked)}, and a "
                "prompt does not say. Ask it with `manyheads predict`, input.source=TEXT input.target_language=NAME."
            )

    def _as_source(self) -> text.AsSource | None:
        """What makes a prompt the encoder's source; None where the network goes on from it."""
        if not self.reads_source():
            return None
        layout = LAYOUTS[str(self.network.kind)](self.tokenizer, PLACE)
        return lambda ids: layout.wrapped(ids[: self.config.task.get("max_source_tokens")])

    def _options(self, values: OptionValues, num_samples: int = 1) -> Options:
        chosen = checked_options(Options, {**values, "num_samples": num_samples}, "generate")
        return chosen if chosen.context is not None else dataclasses.replace(chosen, context=self.context)


def load(
    path: str | Path,
    *,
    checkpoint: str | None = None,
    device: str | None = None,
    allow: Iterable[str] = (),
    member: str | None = None,
    ensemble: str | Path | Sequence[str | Path] = (),
) -> LoadedLM:
    """The language model of a run folder or of a checkpoint file.

    Nothing in the file can run code: it is read with `weights_only=True`, and its config may name only what
    `build` trusts, besides modules in `allow`, which counts from here alone.

    Args:
        checkpoint: best, last or another name in the folder's checkpoints/; None for best, or last where no best is.
        device: such as cpu or cuda; None for an accelerator if there is one.
        member: of a run with several tasks, the one that is to be asked: the network with that one's head.
        ensemble: other runs of the same tokenizer and head, whose probabilities are averaged with this one's.

    Raises:
        UserError: for a folder or file that is not there, is not whole or is of another kind, and runs that do not go together.
    """
    place = _device(device)
    one = read_saved(path, checkpoint=checkpoint, allow=allow, member=member)
    network, head = one.network, one.head
    if runs := runs_of(ensemble):
        others = [read_saved(run, checkpoint=checkpoint, allow=allow, member=member, key="ensemble") for run in runs]
        network, head = together(network, head, one.tokenizer, others)
    return LoadedLM(
        network=network.to(place).eval(),
        head=head.to(place).eval(),
        tokenizer=one.tokenizer,
        config=one.config,
        checkpoint=one.checkpoint,
        record=one.record,
        member=member,
    )


def _device(name: str | None) -> torch.device:
    if name is None:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device={name}: there is no such device here. Set cpu, or leave it out.") from error
    if device.type == "meta":
        raise UserError(f"device={name} keeps no numbers, so nothing can be computed. Set cpu, or leave it out.")
    return device


callable_module(__name__, load)
