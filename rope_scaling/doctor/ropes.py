"""The RoPE of each layer type of a checkpoint, plain and as declared, where the config can be read at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rope_scaling.config import layer_types_of, read_plain_rope, read_rope
from rope_scaling.doctor.facts import Facts, Parameters
from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes import Scheme


@dataclass(frozen=True)
class Change:
    """The pair whose frequency differs most between two tables.

    Attributes:
        pair: Its index.
        ratio: The larger of its two frequencies / the smaller.
    """

    pair: int
    ratio: float

    @property
    def told(self) -> str:
        """In words."""
        return f"{self.ratio:.3g}× at pair {self.pair}"


def widest_change(one: tuple[float, ...], other: tuple[float, ...]) -> Change:
    """Where two tables of frequencies, (rotary_dim / 2,), differ most; a ratio of 1 where they are equal."""
    ratios = [_ratio(a, b) for a, b in zip(one, other, strict=False)]  # tables of two sizes share their first pairs
    if not ratios:
        return Change(0, 1.0)
    pair = max(range(len(ratios)), key=ratios.__getitem__)
    return Change(pair, ratios[pair])


def _ratio(one: float, other: float) -> float:
    if min(one, other) > 0:
        return max(one, other) / min(one, other)
    return 1.0 if one == other else math.inf  # a pair that stands still


def declared_ropes(facts: Facts) -> dict[str | None, Rope | Exception]:
    """The RoPE that the config declares, for its longest sequences, by layer type; an error where it cannot be read."""
    source = _source(facts)
    try:
        kinds: list[str | None] = [*layer_types_of(source)] or [None]
    except (TypeError, ValueError) as error:
        return {None: error}
    found: dict[str | None, Rope | Exception] = {}
    for kind in kinds:
        try:
            found[kind] = read_rope(source, kind)
        except (TypeError, ValueError, OverflowError) as error:
            found[kind] = error
    return found


def plain_rope(facts: Facts, parameters: Parameters, length: float | None = None) -> Rope | None:
    """The unscaled RoPE of a layer type, trained to `length` tokens; None where it cannot be read.

    Neither a broken scaling nor a missing length stands in its way.
    """
    try:
        plain = read_plain_rope(_lenient(facts, parameters))
    except (TypeError, ValueError, OverflowError):
        return None
    trained = length or facts.original(parameters) or facts.max_length or 4096
    return Rope.plain(plain.theta, plain.rotary_dim, int(trained), head_dim=plain.head_dim)


def tabled(make: Callable[[], Scheme], rope: Rope, length: float | None = None) -> ScaledRope | None:
    """What the scheme that `make` gives makes of a RoPE; None where there is no such scheme, or it makes nothing."""
    try:
        made = make()(rope, length)
    except (ValueError, OverflowError, ZeroDivisionError, TypeError):
        return None
    return made if all(math.isfinite(f) for f in made.inv_freq) else None


def _source(facts: Facts) -> Any:
    return facts.config if facts.resolved is None else facts.resolved


def _lenient(facts: Facts, parameters: Parameters) -> dict[str, Any]:
    """What dims and theta are read from, with nothing in it that a broken scaling can spoil."""
    keys = ("head_dim", "hidden_size", "num_attention_heads", "qk_rope_head_dim", "qk_nope_head_dim")
    held: dict[str, Any] = {key: _either(facts, key) for key in keys}
    partial = parameters.said.get("partial_rotary_factor", _either(facts, "partial_rotary_factor"))
    theta = facts.theta(parameters)
    if facts.resolved is not None:
        theirs = getattr(facts.resolved, "rope_parameters", None) or {}
        mine = theirs.get(parameters.layer_type, theirs) if isinstance(theirs, dict) else {}
        mine = mine if isinstance(mine, dict) else {}
        partial = mine.get("partial_rotary_factor") if partial is None else partial
        theta = mine.get("rope_theta") or theta or getattr(facts.resolved, "default_theta", None)
    said = {"rope_type": "default", "rope_theta": 1e4 if theta is None else theta}
    if partial is not None:
        said["partial_rotary_factor"] = partial
    return {**held, "max_position_embeddings": 4096, "rope_parameters": said}


def _either(facts: Facts, key: str) -> Any:
    value = facts.config.get(key)
    if value is not None or facts.resolved is None:
        return value
    try:
        return getattr(facts.resolved, key, None)
    except (ValueError, AttributeError):  # per-layer configs have no one value
        return None
