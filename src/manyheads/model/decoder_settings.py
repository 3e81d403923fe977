"""Which settings of a Transformer fit together, and the ones that follow from others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from manyheads.errors import UserError, check_choice, check_count
from manyheads.model.block import BLOCKS
from manyheads.model.checks import check_divides, check_fraction, check_positive
from manyheads.model.feed_forward import ACTIVATIONS
from manyheads.model.initialization import INITIALIZATIONS
from manyheads.model.mixture_of_experts import check_experts
from manyheads.model.norm import NORMS
from manyheads.model.positions import POSITIONS
from manyheads.model.rotary_scaling import check_scaling


def check_decoder(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the derived ones filled in; raises UserError for those that do not fit together."""
    filled = check_transformer(settings, positions=POSITIONS)
    for key in ("window", "full_every"):
        if settings[key] is not None:
            check_count(f"model.{key}", settings[key])
    check_choice("model.block", settings["block"], BLOCKS)
    factors = {key: settings[key] for key in ("load_balance", "router_z_loss")}
    check_experts(settings["num_experts"], settings["experts_per_token"], factors, settings["balance_over"])
    if settings["attention_softcap"] is not None:
        check_positive("model.attention_softcap", settings["attention_softcap"])
    _check_pairs(settings)
    return filled | check_scaling(settings).bounds


def check_transformer(
    settings: dict[str, Any],
    *,
    positions: Iterable[str] = ("rotary", "learned", "sinusoidal", "relative", "none"),
    layers: Iterable[str] = ("num_layers",),
) -> dict[str, Any]:
    """What every Transformer here has in common: the settings with the derived ones filled in.

    Args:
        positions: the kinds of positions that the network can have.
        layers: the settings that count layers.

    Raises:
        UserError: for settings that do not fit together.
    """
    for key in ("vocab_size", "dim", *layers, "num_heads"):
        check_count(f"model.{key}", settings[key])
    for key in ("num_kv_heads", "ff_dim", "max_positions"):
        if settings[key] is not None:
            check_count(f"model.{key}", settings[key])
    choices = {
        "activation": ACTIVATIONS,
        "norm": NORMS,
        "norm_position": ("pre", "post"),
        "positions": positions,
        "init": INITIALIZATIONS,
    }
    for key, names in choices.items():
        check_choice(f"model.{key}", settings[key], names)
    check_fraction("model.dropout", settings["dropout"])
    for key in ("norm_eps", "rotary_base", "init_std"):
        check_positive(f"model.{key}", settings[key])
    kv_heads = settings["num_kv_heads"] or settings["num_heads"]
    check_divides("model.dim", settings["dim"], "model.num_heads", settings["num_heads"])
    check_divides("model.num_heads", settings["num_heads"], "model.num_kv_heads", kv_heads)
    ff_dim = settings["ff_dim"] or ACTIVATIONS[settings["activation"]].default_width(settings["dim"])
    return settings | {"num_kv_heads": kv_heads, "ff_dim": ff_dim}


def check_encoder(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the derived ones filled in; raises UserError for those that do not fit together."""
    if settings["token_types"] is not None:
        check_count("model.token_types", settings["token_types"])
    check_fraction("model.token_dropout", settings["token_dropout"])
    _check_buckets(settings)
    return check_transformer(settings)


def check_encoder_decoder(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the derived ones filled in; raises UserError for those that do not fit together."""
    _check_buckets(settings)
    return check_transformer(settings, layers=("num_encoder_layers", "num_layers"))


def _check_buckets(settings: dict[str, Any]) -> None:
    """Raises UserError for buckets of relative positions that a network which reads both ways cannot halve twice."""
    buckets, distance = settings["relative_buckets"], settings["relative_distance"]
    check_count("model.relative_buckets", buckets, 4)
    check_count("model.relative_distance", distance)
    if distance <= buckets // 2:
        raise UserError(
            f"model.relative_distance={distance}: {buckets // 2} of model.relative_buckets={buckets} hold one distance each. "
            f"Set model.relative_distance={buckets // 2 + 1} or more, or fewer buckets."
        )


def _check_pairs(settings: dict[str, Any]) -> None:
    """Raises UserError for options of which one has no use, or no meaning, beside the other."""
    block, places = settings["block"], BLOCKS[settings["block"]]
    if settings["norm_position"] not in places:
        raise UserError(
            f"model.block={block} has its norms before its halves, and model.norm_position="
            f"{settings['norm_position']}: set model.norm_position=pre, or model.block=sequential."
        )
    if settings["full_every"] is not None and settings["window"] is None:
        raise UserError(
            f"model.full_every={settings['full_every']} has no use without a window: set model.window, or "
            "model.full_every=null."
        )
