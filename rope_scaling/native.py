"""A scheme in the words of Transformers' own configs, so that a saved checkpoint needs no plugin."""

from __future__ import annotations

import math

from rope_scaling.fields import positive
from rope_scaling.parameters import PROPORTIONAL
from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes import RopeParameters, Scheme
from rope_scaling.schemes.longrope import longrope_parameters
from rope_scaling.temperature import MSCALE_KEYS, factor_of_temperature

_SAYS_FREQUENCIES = {
    *("rope_type", "rope_theta", "factor", "original_max_position_embeddings", "max_position_embeddings"),
    *("attention_factor", "beta_fast", "beta_slow", "truncate"),  # yarn
    *("low_freq_factor", "high_freq_factor"),  # llama3
    *("short_factor", "long_factor", "short_mscale", "long_mscale"),  # longrope
    *MSCALE_KEYS,
}
_KEPT = {
    "partial_rotary_factor",
    "llama_4_scaling_beta",  # ministral3, mistral4: a temperature by position, read in every forward
    *("mrope_section", "mrope_interleaved"),  # which pairs turn by time, height and width
}


_STILL = 3.4e38
"""A divisor whose product with any power of theta is infinite in float32: the pair stands still."""


def native_candidates(
    scheme: Scheme, rope: Rope, factor: float, before: RopeParameters, temperature: float = 1.0
) -> list[RopeParameters]:
    """`rope_parameters` that should say `scheme` over `rope`, the most widely understood first.

    Which of them an architecture reads rightly is for the caller to try. A native type only stands for a scheme over
    plain frequencies; `longrope` with one list of divisors stands for any.

    Args:
        scheme: With its factor settled.
        rope: What it starts from.
        factor: Its s.
        before: The checkpoint's own parameters.
        temperature: What `mscale_all_dim` is to mean in the end, where `before` has it.

    Raises:
        ValueError: `before` holds keys that parts of the model other than RoPE may read.
    """
    refuse_foreign_keys(before)
    scaled = scheme(rope)
    if before["rope_type"] == PROPORTIONAL:
        return _proportional(scheme, rope, factor, before)
    whole = longrope_parameters(rope, scaled, factor)
    kept = {key: before[key] for key in _KEPT if key in before}
    if "llama_4_scaling_beta" in kept and "original_max_position_embeddings" in before:
        kept["original_max_position_embeddings"] = before["original_max_position_embeddings"]
    if scaled == ScaledRope(rope.inv_freq, rope.attention_factor) and rope.rope_type == before["rope_type"]:
        return [dict(before), whole | kept | _softmax(before, temperature, factor)]
    named = scheme.rope_parameters(rope) if rope.is_plain else None
    said = [named] if named is not None else []
    found = [one | kept | _softmax(before, temperature, factor, one) for one in [*said, whole]]
    mscales = {"short_mscale": scaled.attention_factor, "long_mscale": scaled.attention_factor}
    return [*found, *(one | mscales for one in found if one["rope_type"] != "default")]  # phimoe reads only these


def _proportional(scheme: Scheme, rope: Rope, factor: float, before: RopeParameters) -> list[RopeParameters]:
    """The same for a RoPE whose other pairs stand still: only its own type, or a full list of divisors, says that."""
    scaled = scheme(rope)
    if scaled == ScaledRope(rope.inv_freq, rope.attention_factor):
        return [dict(before)]
    named = scheme.rope_parameters(rope) or {}
    told = positive("rope_theta", before["rope_theta"])
    if named.get("rope_type") == "linear":
        return [before | {"factor": positive("factor", before.get("factor", 1.0)) * factor}]
    if named.get("rope_type") == "default":
        return [
            before | {"rope_theta": positive("rope_theta", named["rope_theta"]) ** (rope.head_dim / rope.rotary_dim)}
        ]
    pairs = rope.head_dim // 2
    plain = [told ** (-i / pairs) for i in range(len(scaled.inv_freq))]
    divisors = [f / g for f, g in zip(plain, scaled.inv_freq, strict=True)]
    divisors += [_STILL] * (pairs - len(divisors))
    whole = longrope_parameters(rope, scaled, factor)
    return [whole | {"rope_theta": told, "short_factor": divisors, "long_factor": list(divisors)}]


def refuse_foreign_keys(parameters: RopeParameters) -> None:
    """ValueError where a config's parameters say more than frequencies: what reads them would be left behind."""
    foreign = sorted(set(parameters) - _SAYS_FREQUENCIES - _KEPT)
    if foreign:
        raise ValueError(
            f"rope_parameters hold {', '.join(foreign)}, which other parts of this model read: "
            "patching such a model is not supported yet"
        )


def _softmax(
    before: RopeParameters, temperature: float, factor: float, named: RopeParameters | None = None
) -> RopeParameters:
    """DeepSeek's keys where they are to mean something, and the `factor` with which they mean it."""
    said: RopeParameters = {key: before[key] for key in MSCALE_KEYS if key in before}
    if named is not None and named["rope_type"] == "default":
        return said  # there they mean nothing
    if temperature == 1.0:
        return {}
    meant = factor_of_temperature(before, temperature)
    return said if math.isclose(meant, factor, rel_tol=1e-9) else said | {"factor": meant}
