"""A trained language model from a run folder or a checkpoint file, which holds all that is needed to rebuild it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, overload

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from manyheads import sharded
from manyheads.build import build, target_of
from manyheads.data.given import columns_of, given_rows
from manyheads.data.source import Source
from manyheads.decoding import scoring, text
from manyheads.decoding.options import Options, OptionValues
from manyheads.decoding.scoring import Score
from manyheads.errors import UserError, did_you_mean
from manyheads.head.base import Head
from manyheads.marks import callable_module
from manyheads.run.checkpoint import CHECKPOINTS, find_checkpoint, read_checkpoint, read_tokenizer
from manyheads.run.folder import parse_config
from manyheads.signature import parameters
from manyheads.task.base import Prediction, Task
from manyheads.task.text_to_text import LAYOUTS, PLACE, READ_APART
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
        context: how many tokens the network read at once in training; None when the config does not say.
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
    ) -> None:
        self.network = network
        self.head = head
        self.tokenizer = tokenizer
        self.config = config
        self.checkpoint = checkpoint
        self.record = record
        limits = [OmegaConf.select(config, "task.seq_len"), network.max_positions]
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
        """Each text with its prompt, its number, its tokens and why it ended, in order; options as for `generate`."""
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
        source.ask(target_of(cfg.task, "task", cfg.allow).asked)  # type: ignore[attr-defined]
        return build_task(cfg, source, self.tokenizer).answers(self.network, self.head)

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
            raise UserError(f"{what}: {type(self.head).__name__}, the head of this run, writes no text. {_ASK}")
        return self.network.kind in READ_APART

    def _as_source(self) -> text.AsSource | None:
        """What makes a prompt the encoder's source; None where the network goes on from it."""
        if not self.reads_source():
            return None
        layout = LAYOUTS[str(self.network.kind)](self.tokenizer, PLACE)
        return lambda ids: layout.wrapped(ids[: self.config.task.get("max_source_tokens")])

    def _options(self, values: OptionValues, num_samples: int = 1) -> Options:
        known = Options.__dataclass_fields__
        for name in values:
            if name not in known:
                raise UserError(f"{name} is no option of generate.{did_you_mean(name, known)}")
        context = values.get("context")
        return Options(**{**values, "context": self.context if context is None else context}, num_samples=num_samples)


def load(
    path: str | Path, *, checkpoint: str | None = None, device: str | None = None, allow: Iterable[str] = ()
) -> LoadedLM:
    """The language model of a run folder or of a checkpoint file.

    Nothing in the file can run code: it is read with `weights_only=True`, and its config may name only what
    `build` trusts, besides modules in `allow`, which counts from here alone.

    Args:
        checkpoint: best, last or another name in the folder's checkpoints/; None for best, or last where no best is.
        device: such as cpu or cuda; None for an accelerator if there is one.

    Raises:
        UserError: for a folder or file that is not there, is not whole or is of another kind.
    """
    file = find_checkpoint(path, checkpoint)
    place = _device(device)
    content = read_checkpoint(file)
    record = content["manyheads"]
    config, _ = parse_config(record["config"], f"the config in {file}")
    config["allow"] = list(allow)
    for group in ("model", "head"):
        if group not in config:
            raise UserError(f"the config in {file} names no {group}: it is not that of a whole run.")
    tokenizer = read_tokenizer(content, file)
    network, head = rebuild(config, tokenizer, allow)
    fill(content, file, network, head)
    return LoadedLM(
        network=network.to(place).eval(),
        head=head.to(place).eval(),
        tokenizer=tokenizer,
        config=config,
        checkpoint=file,
        record=record,
    )


def build_task(cfg: DictConfig, source: Source, tokenizer: Tokenizer) -> Task:
    """The task that a config describes, told what kind of network there is and what its head reads of a batch."""
    network = assemble_network(cfg, tokenizer.vocab_size, cfg.allow)
    live = {"source": source, "tokenizer": tokenizer, "seed": cfg.seed, "kind": network.kind}
    live["reads"] = target_of(cfg.head, "head", cfg.allow).reads  # type: ignore[attr-defined]
    known = parameters(target_of(cfg.task, "task", cfg.allow))
    return build(cfg.task, "task", allow=list(cfg.allow), **{name: live[name] for name in live if name in known})


def assemble_network(cfg: DictConfig, vocab_size: int, allow: Iterable[str] = ()) -> nn.Module:
    """The network for a vocabulary of that size, without memory."""
    with torch.device("meta"):
        return build(cfg.model, "model", allow=allow, vocab_size=vocab_size)


def rebuild(cfg: DictConfig, tokenizer: Tokenizer, allow: Iterable[str] = ()) -> tuple[nn.Module, Head]:
    """The network and the head that a config describes, with weights as at the start of training.

    In float64 where training is: Lightning would turn them into it only once a checkpoint's weights are in them.
    """
    with torch.random.fork_rng(devices=[]):
        network, head = assemble(cfg, tokenizer.vocab_size, allow)
    if str(OmegaConf.select(cfg, "trainer.precision")).startswith("64"):
        return network.double(), head.double()
    return network, head


def assemble(cfg: DictConfig, vocab_size: int, allow: Iterable[str] = ()) -> tuple[nn.Module, Head]:
    """The network and the head for a vocabulary of that size, on torch's default device."""
    network = build(cfg.model, "model", allow=allow, vocab_size=vocab_size)
    live = {"dim": network.dim, "vocab_size": vocab_size, "weight": network.output_weight}
    known = parameters(target_of(cfg.head, "head", allow))
    return network, build(cfg.head, "head", allow=allow, **{name: live[name] for name in live if name in known})


def load_weights(path: str | Path, checkpoint: str | None, network: nn.Module, head: Head) -> None:
    """Puts the weights of another run (`init=FOLDER`) into modules of the same shape. Raises UserError."""
    file = find_checkpoint(path, checkpoint, "init")
    fill(read_checkpoint(file), file, network, head)


def fill(content: dict[str, Any], file: Path, network: nn.Module, head: Head) -> None:
    """Copies a checkpoint's weights into the modules, also where each rank holds a part. Raises UserError for one that is missing or has another shape."""
    saved = content["state_dict"]
    for prefix, module in (("network.", network), ("head.", head)):
        own = {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}
        wanted = module.state_dict()
        for name, value in wanted.items():
            if name not in own:
                raise UserError(f"checkpoint {file} lacks {prefix}{name}: it is not whole, or of another network.")
            if own[name].shape != value.shape:
                raise UserError(
                    f"checkpoint {file}: {prefix}{name} is {list(own[name].shape)} there and {list(value.shape)} here. "
                    "Set model and tokenizer to those of that run."
                )
        for name in own.keys() - wanted.keys():
            raise UserError(
                f"checkpoint {file} holds {prefix}{name}, which this network has not: it is of another network."
            )
        module.load_state_dict(sharded.parts_of(own, wanted))


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
