"""Weights in the Hugging Face layout, out and in.

A network of the shape of Llama, Mistral, Qwen3 or GPT-2 becomes one, with experts a Mixtral, so that other tools read it;
any other keeps this package's names under a `model_type` of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from manyheads import model as package
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.layout.base import Layout, Tensors
from manyheads.model.layout.gpt2 import GPT2
from manyheads.model.layout.llama import Llama
from manyheads.model.layout.mistral import Mistral
from manyheads.model.layout.mixtral import Mixtral
from manyheads.model.layout.own import Own
from manyheads.model.layout.qwen3 import Qwen3

OWN = Own()
LAYOUTS: tuple[Layout, ...] = (Llama(), Mistral(), Qwen3(), Mixtral(), GPT2(), OWN)
"""Tried in this order for a Decoder: the last one fits every network."""


def to_hugging_face(
    network: nn.Module, head: nn.Module, *, end_id: int | None = None
) -> tuple[dict[str, Any], Tensors]:
    """What config.json and model.safetensors hold.

    `end_id` is the tokenizer's end-of-text token, which begins and ends a text. The tensors share no memory with one
    another; the output matrix is left out when it is the embedding. Of a network that is no Decoder, or under another head,
    they have the names of the state dict.
    """
    if not (_is_ours(type(network)) and hasattr(network, "embedding") and isinstance(head, NextToken)):
        return _as_it_is(network, head, end_id)  # what a subclass computes is not known here
    whole: Any = network
    layouts = LAYOUTS if type(network) is Decoder else (OWN,)
    layout = next(layout for layout in layouts if layout.fits(whole.settings, head))
    tensors = {f"network.{name}": tensor.detach() for name, tensor in network.state_dict().items()}
    # the layers that look further ahead only serve training
    scoring = {"weight": head.weight, "bias": head.bias}
    tensors |= {f"head.{name}": tensor.detach() for name, tensor in scoring.items() if tensor is not None}
    tied = head.weight is whole.embedding.weight
    if tied:
        del tensors["head.weight"]
    config = {
        "model_type": layout.model_type,
        "architectures": [type(network).__name__ if layout is OWN else layout.architecture],
        "vocab_size": whole.vocab_size,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "tie_word_embeddings": tied,
        "dtype": str(whole.embedding.weight.dtype).removeprefix("torch."),
    }
    if head.softcap is not None:
        config["final_logit_softcapping"] = head.softcap
    return config | layout.config(whole.settings), layout.rename_out(tensors, whole.settings)


def _as_it_is(network: nn.Module, head: nn.Module, end_id: int | None) -> tuple[dict[str, Any], Tensors]:
    """A network, or a head, that no other tool knows, under its own names."""
    tied = getattr(head, "weight", None) is getattr(network, "output_weight", None) is not None
    parts = {"network": network.state_dict(), "head": head.state_dict()}
    tensors = {
        f"{part}.{name}": tensor.detach().clone() for part, state in parts.items() for name, tensor in state.items()
    }
    if tied:
        del tensors["head.weight"]
    config: dict[str, Any] = {
        "model_type": OWN.model_type,
        "architectures": [type(network).__name__],
        "head": type(head).__name__,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "tie_word_embeddings": tied,
    }
    if labels := getattr(head, "labels", None):
        config["id2label"] = dict(enumerate(labels))
    return config | dict(getattr(network, "settings", {})), tensors


def from_hugging_face(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], Tensors]:
    """The keyword arguments of Decoder, or of the network of this package that `architectures` names in its own
    layout; and a state dict with the names `network.*` and `head.*`.

    A tied output matrix is there under both of its names. `head.bias` is there when the head has one; the
    head's `softcap` is the config's `final_logit_softcapping`.

    Raises:
        UserError: for a model of another kind, a part that Decoder does not have, and tensors that are missing or unknown.
    """
    kinds = {layout.model_type: layout for layout in LAYOUTS}
    kind = config.get("model_type")
    if kind not in kinds:
        raise UserError(f"config.json: model_type={kind} cannot be read, only {', '.join(kinds)}: choose such a model.")
    layout = kinds[kind]
    for key, admitted in layout.admitted.items():
        if config.get(key, admitted[0]) not in admitted:
            raise UserError(
                f"config.json: {key}={config[key]} has no counterpart in Decoder: "
                f"choose a {kind} model with {key}={admitted[0]}."
            )
    kind_of_network: type[nn.Module] = _network_of(config) if layout is OWN else Decoder
    try:
        settings = layout.settings(config) | {"vocab_size": config["vocab_size"]}
    except KeyError as error:
        raise UserError(f"config.json: {error.args[0]} is missing; a {kind} model has it.") from error
    settings |= {"tie_embeddings": config.get("tie_word_embeddings", layout.tied_by_default)}
    with torch.device("meta"):
        network: Any = kind_of_network(**settings)
    wanted = {f"network.{name}": tensor.shape for name, tensor in network.state_dict().items()}
    wanted["head.weight"] = torch.Size((network.vocab_size, network.dim))
    state = layout.rename_in(tensors, network.settings)
    if network.output_weight is not None and "network.embedding.weight" in state:
        state["head.weight"] = state["network.embedding.weight"]
    _check_tensors(state, wanted)
    return settings, state


def _network_of(config: Mapping[str, Any]) -> type[nn.Module]:
    """The network that a config of this package's own layout names. Raises UserError."""
    name, known = str(config.get("architectures", ["Decoder"])[0]), []
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if module.ispkg:
            continue
        for found in vars(importlib.import_module(module.name)).values():
            if isinstance(found, type) and found.__module__ == module.name and _is_ours(found):
                known.append(found.__name__)
                if found.__name__ == name:
                    return found
    raise UserError(f"config.json: architectures={name} is no network of manyheads, only {', '.join(known)} are.")


def _is_ours(kind: type) -> bool:
    """Whether a class is a whole network of this package, and no subclass from outside, of which nothing is known here."""
    inside = kind.__module__.startswith(f"{package.__name__}.")
    return inside and issubclass(kind, nn.Module) and hasattr(kind, "kind") and ABC not in kind.__bases__


def _check_tensors(state: Tensors, wanted: Mapping[str, torch.Size]) -> None:
    missing, unknown = wanted.keys() - state.keys(), state.keys() - wanted.keys() - {"head.bias"}
    if missing or unknown:
        what, names = ("lack", missing) if missing else ("hold an unknown", unknown)
        raise UserError(
            f"the weights {what} {min(names)} ({len(names)} in all): they do not belong to this config.json."
        )
    for name, shape in wanted.items():
        if state[name].shape != shape:
            raise UserError(f"the weights' {name} is {list(state[name].shape)}, and config.json says {list(shape)}.")
