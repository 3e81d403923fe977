"""From a config and a checkpoint to the parts of a run: task, network and head."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from manyheads import sharded
from manyheads.build import build, target_of
from manyheads.data.source import Source
from manyheads.data.together import Together
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.head.members import parts_of
from manyheads.head.word import WordHead
from manyheads.members import head_classes, members_of, naming
from manyheads.run.checkpoint import find_checkpoint, read_checkpoint, read_tokenizer
from manyheads.run.folder import parse_config
from manyheads.signature import parameters
from manyheads.task.base import Task
from manyheads.task.word_scores import vectors_of
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.pieces import first_and_later


def build_source(cfg: DictConfig, fields: str = "fields") -> Source:
    """The data that a config describes, asked for the columns of its task; of a mixture, of each member for its own.

    `fields` names the task's attribute: fields, or asked. Raises UserError.
    """
    members = members_of(cfg)
    if not members:
        source = build(cfg.data, "data", allow=list(cfg.allow))
        source.ask(getattr(target_of(cfg.task, "task", cfg.allow), fields))
        return source
    sources = {}
    for name, member in members.items():
        with naming(name, cfg):
            sources[name] = build_source(member, fields)
            if sources[name].stream() is not None:
                raise UserError(
                    "data.streaming=true: a mixture has to know how large the data of its members is. Set it to false."
                )
    return Together(sources)


def build_task(cfg: DictConfig, source: Source, tokenizer: Tokenizer) -> Task:
    """The task that a config describes, told what kind of network there is and what its head reads of a batch. Raises
    UserError when its rows can be longer than the network's positions."""
    if members := members_of(cfg):
        assert isinstance(source, Together)
        return _build_mixture(cfg, members, source, tokenizer)
    network = assemble_network(cfg, tokenizer.vocab_size, cfg.allow)
    live = {"source": source, "tokenizer": tokenizer, "seed": cfg.seed, "kind": network.kind}
    live["reads"] = target_of(cfg.head, "head", cfg.allow).reads  # type: ignore[attr-defined]
    known = parameters(target_of(cfg.task, "task", cfg.allow))
    task = build(cfg.task, "task", allow=list(cfg.allow), **{name: live[name] for name in live if name in known})
    if most := getattr(network, "max_positions", None):
        task.check_positions(most)
    return task


def _build_mixture(cfg: DictConfig, members: dict[str, DictConfig], source: Together, tokenizer: Tokenizer) -> Task:
    """Its members have one tokenizer, with the special tokens of all."""
    built: dict[str, Task] = {}

    def make(name: str) -> Task:
        with naming(name, cfg):
            return build_task(members[name], source.members[name], tokenizer)

    for name in members:
        built[name] = make(name)
        tokenizer = built[name].tokenizer
    for name, member in built.items():
        if member.tokenizer.fingerprint != tokenizer.fingerprint:  # a later one has needed more of it
            built[name] = make(name)
    node = OmegaConf.masked_copy(cfg.task, [str(key) for key in cfg.task if key != "members"])
    return build(node, "task", allow=list(cfg.allow), source=source, tokenizer=tokenizer, members=built)


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


def rebuilt(cfg: DictConfig, tokenizer: Tokenizer, run: Path) -> tuple[nn.Module, Head]:
    """The same with the best weights of a run of that config."""
    network, head = rebuild(cfg, tokenizer, cfg.allow)
    load_weights(run, "best", network, head)
    return network, head


def assemble(cfg: DictConfig, vocab_size: int, allow: Iterable[str] = ()) -> tuple[nn.Module, Head]:
    """The network and the head for a vocabulary of that size, on torch's default device."""
    network = build(cfg.model, "model", allow=allow, vocab_size=vocab_size)
    return network, _assemble_head(cfg, network, vocab_size, allow)


def _assemble_head(cfg: DictConfig, network: Any, vocab_size: int, allow: Iterable[str]) -> Head:
    heads: dict[str, Head] = {}
    for name, member in members_of(cfg).items():
        with naming(name, cfg):
            heads[name] = _assemble_head(member, network, vocab_size, allow)
    live = {"dim": network.dim, "vocab_size": vocab_size, "weight": network.output_weight, "heads": heads}
    live["table"] = getattr(network, "log_probabilities", None)
    known = parameters(target_of(cfg.head, "head", allow))
    return build(cfg.head, "head", allow=allow, **{name: live[name] for name in live if name in known})


def load_weights(
    path: str | Path, checkpoint: str | None, network: nn.Module, head: Head, allow: Iterable[str] = ()
) -> list[str]:
    """Puts the weights of another run (`init=FOLDER`) into modules of the same shape, and says what it left out: a head of
    another class than that run's starts anew, and so does that of a member that the run had not. Raises UserError."""
    file = find_checkpoint(path, checkpoint, "init")
    content = read_checkpoint(file)
    config, _ = parse_config(content["manyheads"]["config"], f"the config in {file}")
    before, now = head_classes(config, allow), parts_of(head)
    kept = [name for name, part in now.items() if before.get(name) is type(part)]
    if len(kept) == len(now) == len(before):
        fill(content, file, network, head)
        return []
    fill_part(content, file, "network.", network)
    for name in kept:
        fill_part(content, file, f"head.members.{name}.", now[name])
    return [
        f"the network starts from {path}; the head{f' of {name}' if name else ''}, {type(now[name]).__name__}, starts anew: "
        f"that run's was {' and '.join(found.__name__ for found in before.values())}"
        for name in now
        if name not in kept
    ]


def fill(content: dict[str, Any], file: Path, network: nn.Module, head: Head) -> None:
    """Copies a checkpoint's weights into the modules, also where each rank holds a part. Raises UserError for one that is missing or has another shape."""
    for prefix, module in (("network.", network), ("head.", head)):
        fill_part(content, file, prefix, module)


def fill_part(content: dict[str, Any], file: Path, prefix: str, module: nn.Module) -> None:
    """Copies those of a checkpoint's weights whose names begin with `prefix` into a module. Raises UserError as `fill` does."""
    saved = content["state_dict"]
    own = {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}
    wanted = module.state_dict()
    for name, value in wanted.items():
        if name not in own:
            raise UserError(f"checkpoint {file} lacks {prefix}{name}: it is not whole, or of another network.")
        grows = name in getattr(module, "grows", ())  # with what was read
        if own[name].shape[grows:] != value.shape[grows:]:
            raise UserError(
                f"checkpoint {file}: {prefix}{name} is {list(own[name].shape)} there and {list(value.shape)} here. "
                "Set model and tokenizer to those of that run."
            )
    for name in own.keys() - wanted.keys():
        raise UserError(
            f"checkpoint {file} holds {prefix}{name}, which this network has not: it is of another network."
        )
    module.load_state_dict(sharded.parts_of(own, wanted))


def load_words(path: str | Path, network: Any, tokenizer: Tokenizer, allow: Iterable[str] = ()) -> list[str]:
    """Puts the vectors of a run of word vectors (`embedding_from=FOLDER`) into the embedding of a network, token by token: a
    token gets the vector of the word that writes the same behind another one, as " king" does. Says how many were found; the
    others stay as they were drawn.

    Raises UserError for a run of another kind, vectors of another width, and where no token is found.
    """
    file = find_checkpoint(path, None, "embedding_from")
    content = read_checkpoint(file)
    config, _ = parse_config(content["manyheads"]["config"], f"the config in {file}")
    words = read_tokenizer(content, file)
    learned, head = rebuild(config, words, allow)
    if not isinstance(head, WordHead):
        raise UserError(
            f"embedding_from={path}: its head is {type(head).__name__}, which learns no word vectors. Set the folder of a run of "
            "task=word_vectors."
        )
    fill(content, file, learned, head)
    weight, vectors = network.embedding.weight, vectors_of(learned, head)
    if weight.shape[1] != vectors.shape[1]:
        raise UserError(
            f"embedding_from={path}: its vectors are {vectors.shape[1]} wide, and the embedding of this network is "
            f"{weight.shape[1]}. Set model.dim={vectors.shape[1]}, or vectors of a run with model.dim={weight.shape[1]}."
        )
    places = {text: token for token, text in reversed([*enumerate(first_and_later(words)[1])]) if text}
    pairs = [(token, places[text]) for token, text in enumerate(first_and_later(tokenizer)[1]) if text in places]
    if not pairs:
        raise UserError(
            f"embedding_from={path}: no token of the tokenizer is a word of it. Set the tokenizer of that run."
        )
    here, there = zip(*pairs, strict=True)
    with torch.no_grad():
        weight[list(here)] = vectors[list(there)].to(weight)
    return [f"{len(pairs):,} of {len(weight):,} tokens start with the vectors of {path}, the others at random"]
