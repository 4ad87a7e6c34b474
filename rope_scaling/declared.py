"""The scheme that a config's own `rope_type` stands for."""

from __future__ import annotations

from typing import Any

from rope_scaling.fields import positive
from rope_scaling.schemes import Dynamic, Linear, Llama3, LongRoPE, RopeParameters, Scheme, YaRN
from rope_scaling.schemes.yarn import yarn_attention_factor

# rope_type -> the scheme, and the keys beside `factor` that are its options by the same name
_DECLARED: dict[str, tuple[type[Scheme], tuple[str, ...]]] = {
    "linear": (Linear, ()),
    "dynamic": (Dynamic, ()),
    "llama3": (Llama3, ("low_freq_factor", "high_freq_factor")),
    "yarn": (YaRN, ("beta_fast", "beta_slow", "truncate", "attention_factor")),
    "proportional": (Linear, ()),
    "longrope": (LongRoPE, ("long_factor", "short_factor", "attention_factor")),
}
_FACTOR_FROM_LENGTHS = ("yarn", "longrope")
_NEEDED = {
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": ("factor", "long_factor", "short_factor"),
}


def depends_on_length(parameters: RopeParameters) -> bool:
    """Whether Transformers changes the frequencies with the length of each call."""
    rope_type = parameters.get("rope_type")
    switched = ("factor", "mscale")
    return rope_type == "dynamic" or (
        rope_type == "longrope" and any(parameters.get(f"short_{x}") != parameters.get(f"long_{x}") for x in switched)
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
    given = _given(parameters, rope_type, ("factor", *keys), length_ratio)
    if rope_type == "yarn" and "attention_factor" not in given:
        given["attention_factor"] = deepseek_attention_factor(parameters, given["factor"])
    if rope_type == "longrope" and given["factor"] == 1 and length_ratio > 1:
        # the factor only makes the attention factor; it is the length that chooses the list
        given |= {"factor": length_ratio, "attention_factor": given.get("attention_factor", 1.0)}
    if parameters.get("long_mscale") is not None:
        given["attention_factor"] = positive("long_mscale", parameters["long_mscale"])  # phimoe's key, for any type
    return scheme(**given)


def _given(parameters: RopeParameters, rope_type: str, keys: tuple[str, ...], length_ratio: float) -> dict[str, Any]:
    """What the parameters say under `keys`, with all that their type needs."""
    given: dict[str, Any] = {key: parameters[key] for key in keys if parameters.get(key) is not None}
    if rope_type in _FACTOR_FROM_LENGTHS and "factor" not in given:
        given["factor"] = _factor_from_lengths(length_ratio)
    for key in _NEEDED.get(rope_type, ("factor",)):
        if key not in given:
            raise ValueError(f"rope_parameters of rope_type {rope_type!r} need {key}")
    for key, value in given.items():
        if key != "truncate" and isinstance(value, int) and not isinstance(value, bool):
            positive(key, value)  # JSON has integers that no float can hold
    if "truncate" in keys and not isinstance(parameters.get("truncate", True), bool):  # null is false to Transformers
        raise ValueError(f"truncate must be true or false, got {parameters['truncate']!r}: correct it or leave it out")
    return given


def _factor_from_lengths(length_ratio: float) -> float:
    if length_ratio < 1:
        raise ValueError(
            f"rope_parameters name no factor, and max_position_embeddings is {length_ratio:.3g} times "
            "original_max_position_embeddings: it must be at least as long"
        )
    return length_ratio


def deepseek_attention_factor(parameters: RopeParameters, factor: object) -> float | None:
    """The ratio of DeepSeek's two mscales where both are there and not 0; None leaves it to the factor."""
    mscale, mscale_all_dim = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if not mscale or not mscale_all_dim:
        return None
    s = positive("factor", factor)
    above = yarn_attention_factor(s, positive("mscale", mscale))
    return above / yarn_attention_factor(s, positive("mscale_all_dim", mscale_all_dim))
