"""A scheme in the words of Transformers' own configs, so that a saved checkpoint needs no plugin."""

from __future__ import annotations

from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes import RopeParameters, Scheme
from rope_scaling.schemes.longrope import longrope_parameters

_UNDERSTOOD = {
    *("rope_type", "rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings"),
    *("attention_factor", "beta_fast", "beta_slow", "truncate"),  # yarn
    *("low_freq_factor", "high_freq_factor"),  # llama3
    *("short_factor", "long_factor"),  # longrope
}


def native_candidates(scheme: Scheme, rope: Rope, factor: float, before: RopeParameters) -> list[RopeParameters]:
    """`rope_parameters` that should say `scheme` over `rope`, the most widely understood first.

    Which of them an architecture reads rightly is for the caller to try. A native type only stands for a scheme over
    plain frequencies; `longrope` with one list of divisors stands for any.

    Raises:
        ValueError: `before` holds keys that parts of the model other than RoPE read.
    """
    refuse_foreign_keys(before)
    scaled = scheme(rope)
    if scaled == ScaledRope(rope.inv_freq, rope.attention_factor) and rope.rope_type == before["rope_type"]:
        return [dict(before), longrope_parameters(rope, scaled, factor)]
    named = scheme.rope_parameters(rope) if rope.is_plain else None
    kept = {key: before[key] for key in ("partial_rotary_factor",) if key in before}
    said = [named] if named is not None else []
    return [parameters | kept for parameters in [*said, longrope_parameters(rope, scaled, factor)]]


def refuse_foreign_keys(parameters: RopeParameters) -> None:
    """ValueError where a config's parameters say more than frequencies: what reads them would be left behind."""
    foreign = sorted(set(parameters) - _UNDERSTOOD)
    if foreign:
        raise ValueError(
            f"rope_parameters hold {', '.join(foreign)}, which other parts of this model read: "
            "patching such a model is not supported yet"
        )
