"""The scheme that a config's own `rope_type` stands for."""

from __future__ import annotations

from typing import Any

from rope_scaling.rope import check_positive
from rope_scaling.schemes import Dynamic, Linear, Llama3, LongRoPE, RopeParameters, Scheme, YaRN
from rope_scaling.schemes.yarn import yarn_attention_factor

# rope_type -> the scheme, and the keys beside `factor` that are its options by the same name
_DECLARED: dict[str, tuple[type[Scheme], tuple[str, ...]]] = {
    "linear": (Linear, ()),
    "dynamic": (Dynamic, ()),
    "llama3": (Llama3, ("low_freq_factor", "high_freq_factor")),
    "yarn": (YaRN, ("beta_fast", "beta_slow", "truncate", "attention_factor")),
    "longrope": (LongRoPE, ("long_factor", "short_factor", "attention_factor")),
}
_FACTOR_FROM_LENGTHS = ("yarn", "longrope")


def depends_on_length(parameters: RopeParameters) -> bool:
    """Whether Transformers changes the frequencies with the length of each call."""
    rope_type = parameters.get("rope_type")
    return rope_type == "dynamic" or (
        rope_type == "longrope" and parameters.get("short_factor") != parameters.get("long_factor")
    )


def declared_scheme(parameters: RopeParameters, length_ratio: float) -> Scheme:
    """The scheme of scaled `rope_parameters`, as Transformers reads them.

    Args:
        parameters: With a `rope_type` other than "default".
        length_ratio: The config's length / L, which is the factor where `yarn` or `longrope` name none.

    Raises:
        ValueError: An unknown type, or a key that is missing or impossible.
    """
    rope_type = str(parameters["rope_type"])
    if rope_type not in _DECLARED:
        raise ValueError(f"rope_type {rope_type!r} is not understood (default, {', '.join(_DECLARED)})")
    scheme, keys = _DECLARED[rope_type]
    given: dict[str, Any] = {key: parameters[key] for key in ("factor", *keys) if parameters.get(key) is not None}
    if rope_type in _FACTOR_FROM_LENGTHS:
        given.setdefault("factor", length_ratio)
    needed = ["factor", "long_factor"] if rope_type == "longrope" else ["factor"]
    for key in needed:
        if key not in given:
            raise ValueError(f"rope_parameters of rope_type {rope_type!r} need {key}")
    if rope_type == "yarn" and "attention_factor" not in given:
        given["attention_factor"] = _deepseek_attention_factor(parameters, given["factor"])
    return scheme(**given)


def _deepseek_attention_factor(parameters: RopeParameters, factor: object) -> float | None:
    """The ratio of DeepSeek's two mscales where both are there and not 0; None leaves it to the factor."""
    mscale, mscale_all_dim = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if not mscale or not mscale_all_dim:
        return None
    s = check_positive("factor", factor)
    above = yarn_attention_factor(s, check_positive("mscale", mscale))
    return above / yarn_attention_factor(s, check_positive("mscale_all_dim", mscale_all_dim))
