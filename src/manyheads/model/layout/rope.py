"""Rotary positions under the names of Hugging Face configs, as in transformers' modeling_rope_utils.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.errors import UserError
from manyheads.model.rotary_scaling import SCALINGS

TYPES = {"none": "default", "linear": "linear", "dynamic": "dynamic", "yarn": "yarn", "llama3": "llama3"}
"""Ours to theirs."""

BOUNDS = {
    "yarn": {"rotary_slow": "beta_slow", "rotary_fast": "beta_fast"},
    "llama3": {"rotary_slow": "low_freq_factor", "rotary_fast": "high_freq_factor"},
}
NUMBERS = {"rotary_factor": "factor", "original_max_positions": "original_max_position_embeddings"}
READ = {
    "type",
    "rope_type",
    "rope_theta",
    *NUMBERS.values(),
    *(name for kind in BOUNDS.values() for name in kind.values()),
}
"""Keys of which we know what they mean."""


def can_be_written(settings: Mapping[str, Any]) -> bool:
    """Whether the config has a place for all: with `dynamic` the limit's place is taken by the original positions."""
    return not SCALINGS[settings["rotary_scaling"]].grows or settings["max_positions"] is None


def written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that holds positions."""
    kind = settings["rotary_scaling"]
    rope: dict[str, Any] = {"rope_type": TYPES[kind], "rope_theta": settings["rotary_base"]}
    for ours, theirs in (NUMBERS | BOUNDS.get(kind, {})).items():
        if settings[ours] is not None:
            rope[theirs] = settings[ours]
    # transformers 4 reads rope_theta and rope_scaling, 5 rope_parameters
    config: dict[str, Any] = {"rope_theta": settings["rotary_base"], "rope_parameters": rope}
    if SCALINGS[kind].uses:
        config["rope_scaling"] = dict(rope)
    limit = rope.pop(NUMBERS["original_max_positions"]) if SCALINGS[kind].grows else settings["max_positions"]
    return config if limit is None else config | {"max_position_embeddings": limit}


def read(config: Mapping[str, Any]) -> dict[str, Any]:
    """The other way. Raises UserError for a kind of scaling, or a number of it, that Decoder does not have."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    name = rope.get("rope_type") or rope.get("type", "default")
    kinds = {theirs: ours for ours, theirs in TYPES.items()}
    neutral = {"partial_rotary_factor": 1.0, "truncate": True}
    unknown = [key for key, value in rope.items() if key not in READ and value not in (None, neutral.get(key))]
    if name not in kinds or unknown:
        what = f"rope_type={name}" if name not in kinds else f"{unknown[0]}={rope[unknown[0]]} of the rotary positions"
        raise UserError(f"config.json: {what} has no counterpart in Decoder: choose a model without it.")
    limit, kind = config.get("max_position_embeddings"), SCALINGS[kinds[name]]
    settings = {
        "rotary_base": float(rope.get("rope_theta") or config.get("rope_theta", 10000.0)),
        "rotary_scaling": kinds[name],
        "max_positions": None if kind.grows else limit,
    }
    if "rotary_factor" in kind.uses:
        settings["rotary_factor"] = rope["factor"]
    if "original_max_positions" in kind.uses:
        given = None if kind.grows else rope.get(NUMBERS["original_max_positions"])
        settings["original_max_positions"] = given or config["max_position_embeddings"]
    return settings | {ours: rope.get(theirs) for ours, theirs in BOUNDS.get(kinds[name], {}).items()}
