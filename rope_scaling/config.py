"""The RoPE in a Transformers config, read into a `Rope`."""

from __future__ import annotations

from rope_scaling.declared import declared_scheme
from rope_scaling.fields import get, positive, whole
from rope_scaling.parameters import (
    PROPORTIONAL,
    Config,
    before_patch,
    layer_types_of,
    of_layer_type,
    read_rope_parameters,
)
from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes import RopeParameters, Scheme

__all__ = [
    "Config",
    "layer_types_of",
    "max_position_embeddings",
    "read_plain_rope",
    "read_rope",
    "read_rope_parameters",
]

_DEPEND_ON_LENGTH = ("dynamic", "longrope")
_LARGEST_HEAD = 2**16
"""No head is as large by far; a number above is a mistake, and as many frequencies would fill the memory."""
_SMALLEST_NORMAL = 2.0**-126
"""float32 rounds smaller numbers more and more, until they are 0."""


def read_rope(config: Config, layer_type: str | None = None, *, length: float | None = None) -> Rope:
    """The RoPE that a config describes, with the scaling that it declares applied.

    A config that this library patched is read as it was before.

    Args:
        config: A Transformers config, or the dict of a `config.json` with the usual keys (older spellings of a single
            architecture, such as `rotary_pct`, are known to its config class: load it with `AutoConfig`).
        layer_type: Which layers, where `rope_parameters` has an entry for each type ("full_attention", ...).
        length: Tokens for which a type that depends on the length (`dynamic`, `longrope`) is read; the config's
            `max_position_embeddings` unless given.

    Raises:
        TypeError: The model has no RoPE.
        ValueError: A key is missing or impossible; the message names it.
    """
    parameters = read_rope_parameters(config, layer_type)
    config = of_layer_type(config, layer_type)
    plain = _plain_rope(config, parameters)
    rope_type = str(parameters["rope_type"])
    if rope_type == "default" or (rope_type == PROPORTIONAL and parameters.get("factor", 1.0) == 1.0):
        return plain
    declared = max_position_embeddings(config)
    scheme = declared_scheme(parameters, declared / plain.original_max_position_embeddings)
    at = (declared if length is None else length) if rope_type in _DEPEND_ON_LENGTH else None
    scaled = _scaled(scheme, plain, at, parameters)
    return Rope(
        scaled.inv_freq,
        plain.theta,
        plain.rotary_dim,
        plain.head_dim,
        plain.original_max_position_embeddings,
        scaled.attention_factor,
        rope_type,
    )


def read_plain_rope(config: Config, layer_type: str | None = None) -> Rope:
    """The RoPE of a config without the scaling that it declares."""
    return _plain_rope(of_layer_type(config, layer_type), read_rope_parameters(config, layer_type))


def max_position_embeddings(config: Config) -> int:
    """The length that a config declares, in tokens; before a patch, where there is a record."""
    value = get(before_patch(config), "max_position_embeddings")
    if value is None:
        raise ValueError(
            "the config has no max_position_embeddings, the trained length: set it, or give original_max_length"
        )
    return whole("max_position_embeddings", value)


def _plain_rope(config: Config, parameters: RopeParameters) -> Rope:
    head_dim, rotary_dim = _dims(config, parameters)
    theta = positive("rope_theta", parameters["rope_theta"])
    if not _SMALLEST_NORMAL <= theta <= 1 / _SMALLEST_NORMAL:
        raise ValueError(f"rope_theta {theta} is a number that float32 does not hold, and so no engine computes with")
    if parameters["rope_type"] == PROPORTIONAL:
        theta = theta ** (rotary_dim / head_dim)  # theta^(-2i / head_dim) for the pairs that turn, written as their own
    length = _trained_length(config, parameters)
    if head_dim > _LARGEST_HEAD or rotary_dim < 2 or rotary_dim % 2:
        raise ValueError(
            f"rotary_dim must be even and at least 2, got {rotary_dim} of head_dim {head_dim}: pairs are rotated "
            "(qk_rope_head_dim, head_dim, or hidden_size and num_attention_heads say it)"
        )
    return Rope.plain(theta, rotary_dim, length, head_dim=head_dim)


def _scaled(scheme: Scheme, plain: Rope, length: float | None, parameters: RopeParameters) -> ScaledRope:
    """A declared scheme over the plain RoPE, or a ValueError where its numbers make none."""
    pairs = len(plain.inv_freq)
    for key in ("short_factor", "long_factor"):  # also the one that this length does not use
        divisors = parameters.get(key)
        if isinstance(divisors, list) and scheme.name == "longrope" and len(divisors) != pairs:
            raise ValueError(
                f"{key} must hold rotary_dim / 2 = {pairs} divisors (rotary_dim is head_dim times "
                f"partial_rotary_factor), got {len(divisors)}"
            )
    if scheme.name == "yarn" and plain.theta <= 1:
        raise ValueError(f"rope_theta must be above 1 for a ramp over the pairs, got {plain.theta}")
    try:
        scaled = scheme(plain, length)
    except (OverflowError, ZeroDivisionError):
        told = ", ".join(f"{key} {value}" for key, value in parameters.items() if not isinstance(value, list))
        raise ValueError(
            f"these rope_parameters make no frequencies ({told}; trained length "
            f"original_max_position_embeddings {plain.original_max_position_embeddings}): one number is far off"
        ) from None
    slowest, fastest = min((f for f in scaled.inv_freq if f), default=1.0), max(scaled.inv_freq)
    if slowest < _SMALLEST_NORMAL or fastest > 1 / _SMALLEST_NORMAL:
        raise ValueError(
            f"these rope_parameters make frequencies from {fastest:.3g} to {slowest:.3g} radians per token, which "
            f"float32 does not hold: one of {', '.join(parameters)} is far off"
        )
    return scaled


def _dims(config: Config, parameters: RopeParameters) -> tuple[int, int]:
    """(head_dim, rotary_dim). In multi-head latent attention only `qk_rope_head_dim` of a head's dimensions turn."""
    rope_part = get(config, "qk_rope_head_dim")
    if rope_part is not None:
        rotary = whole("qk_rope_head_dim", rope_part)
        rest = get(config, "qk_nope_head_dim")
        still = 0 if rest is None or rest == 0 else whole("qk_nope_head_dim", rest)
        return still + rotary, rotary
    head_dim = _head_dim(config)
    partial = parameters.get("partial_rotary_factor")
    if partial is None:
        partial = get(config, "partial_rotary_factor")
    if partial is None:
        return head_dim, head_dim
    rotary = int(head_dim * positive("partial_rotary_factor", partial))
    if rotary % 2 or not 0 < rotary <= head_dim:
        raise ValueError(
            f"partial_rotary_factor {partial} of head_dim {head_dim} gives rotary_dim {rotary}: "
            "it must be even and at most head_dim"
        )
    return head_dim, rotary


def _head_dim(config: Config) -> int:
    head_dim = get(config, "head_dim")
    if head_dim is not None:
        return whole("head_dim", head_dim)
    hidden, heads = get(config, "hidden_size"), get(config, "num_attention_heads")
    if hidden is None or heads is None:
        raise ValueError("the config has no head_dim, nor hidden_size and num_attention_heads to take it from")
    size = whole("hidden_size", hidden) // whole("num_attention_heads", heads)
    if size < 1:
        raise ValueError(f"hidden_size {hidden} is less than num_attention_heads {heads}: a head has no dimension")
    return size


def _trained_length(config: Config, parameters: RopeParameters) -> int:
    """L: the parameters' own, else the config's `original_max_position_embeddings`, else its whole length."""
    if get(before_patch(config), "max_position_embeddings") is not None:
        max_position_embeddings(config)  # an error where it is no length, also if it is not needed here
    if parameters["rope_type"] == "dynamic":
        return max_position_embeddings(config)  # the only length that Transformers' formula knows
    key = "original_max_position_embeddings"
    held = [get(source, key) for source in (parameters, before_patch(config))]
    said = [whole(key, value) for value in held if value is not None]
    if len(set(said)) > 1:
        raise ValueError(
            f"{key} is {said[0]} in rope_parameters and {said[1]} beside them: architectures differ in which they "
            "read; make them the same"
        )
    return said[0] if said else max_position_embeddings(config)
