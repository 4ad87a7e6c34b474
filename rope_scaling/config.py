"""The RoPE in a Transformers config: read into a `Rope`, from every place where configs have kept it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from rope_scaling.declared import declared_scheme
from rope_scaling.record import read_record
from rope_scaling.rope import Rope, check_positive
from rope_scaling.schemes import RopeParameters

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Config: TypeAlias = "PreTrainedConfig | Mapping[str, object]"


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
    plain = _plain_rope(config, parameters)
    rope_type = str(parameters["rope_type"])
    if rope_type == "default":
        return plain
    whole = max_position_embeddings(config)
    scheme = declared_scheme(parameters, whole / plain.original_max_position_embeddings)
    scaled = scheme(plain, (whole if length is None else length) if rope_type in ("dynamic", "longrope") else None)
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
    return _plain_rope(config, read_rope_parameters(config, layer_type))


def read_rope_parameters(config: Config, layer_type: str | None = None) -> RopeParameters:
    """One layer type's parameters with `rope_type` and `rope_theta` in them, a copy.

    Reads `rope_parameters`, or the older `rope_scaling` beside `rope_theta`; before a patch, where there is a record.

    Raises:
        TypeError: The model has no RoPE.
        ValueError: A key is missing or impossible; the message names it.
    """
    parameters = _found_parameters(config)
    nested = layer_types_of(config)
    if nested and layer_type not in nested:
        raise ValueError(f"this config has a RoPE for each layer type ({', '.join(nested)}), got {layer_type!r}")
    if nested and layer_type is not None:
        parameters = parameters[layer_type]
    theta = parameters.get("rope_theta")
    if theta is None:
        theta = _get(config, "rope_theta", getattr(config, "default_theta", None))
    if theta is None:
        raise ValueError("the config has no rope_theta: set it in rope_parameters")
    rope_type = parameters.get("rope_type") or parameters.get("type") or "default"
    kept = {key: value for key, value in parameters.items() if key != "type"}
    return kept | {"rope_type": rope_type, "rope_theta": check_positive("rope_theta", theta)}


def layer_types_of(config: Config) -> list[str]:
    """The layer types that have a RoPE of their own; empty where all layers share one."""
    parameters = _found_parameters(config)
    return [key for key, value in parameters.items() if isinstance(value, Mapping)]


def max_position_embeddings(config: Config) -> int:
    """The length that a config declares, in tokens; before a patch, where there is a record."""
    value = _get(_before(config), "max_position_embeddings")
    if value is None:
        raise ValueError(
            "the config has no max_position_embeddings, the trained length: set it, or give original_max_length"
        )
    return int(check_positive("max_position_embeddings", value))


def _found_parameters(config: Config) -> Mapping[str, Any]:
    """`rope_parameters` as they stand, or a TypeError where the model has no RoPE."""
    _refuse_other_positions(config)
    source = _before(config)
    parameters = _get(source, "rope_parameters")
    if parameters is None:
        parameters = _get(source, "rope_scaling")
    if parameters is None and _get(config, "rope_theta") is not None:
        parameters = {}
    if parameters is None:
        raise TypeError(f"{_called(config)} has no RoPE: neither rope_parameters nor rope_theta in its config")
    if not isinstance(parameters, Mapping):
        raise ValueError(f"rope_parameters must be a dict, got {parameters!r}")
    return parameters


def _refuse_other_positions(config: Config) -> None:
    if _get(config, "alibi") is True:
        raise TypeError(f"{_called(config)} has no RoPE: alibi=True, its positions are biases on attention")


def _plain_rope(config: Config, parameters: RopeParameters) -> Rope:
    head_dim, rotary_dim = _dims(config, parameters)
    theta = check_positive("rope_theta", parameters["rope_theta"])
    return Rope.plain(theta, rotary_dim, _trained_length(config, parameters), head_dim=head_dim)


def _dims(config: Config, parameters: RopeParameters) -> tuple[int, int]:
    """(head_dim, rotary_dim). In multi-head latent attention only `qk_rope_head_dim` of a head's dimensions turn."""
    rope_part = _get(config, "qk_rope_head_dim")
    if rope_part is not None:
        rotary = int(check_positive("qk_rope_head_dim", rope_part))
        return int(_get(config, "qk_nope_head_dim") or 0) + rotary, rotary
    head_dim = _get(config, "head_dim")
    if head_dim is None:
        hidden, heads = _get(config, "hidden_size"), _get(config, "num_attention_heads")
        if hidden is None or heads is None:
            raise ValueError("the config has no head_dim, nor hidden_size and num_attention_heads to take it from")
        head_dim = check_positive("hidden_size", hidden) // check_positive("num_attention_heads", heads)
    head_dim = int(check_positive("head_dim", head_dim))
    partial = parameters.get("partial_rotary_factor", _get(config, "partial_rotary_factor"))
    if partial is None:
        return head_dim, head_dim
    rotary = int(head_dim * check_positive("partial_rotary_factor", partial))
    if rotary % 2 or not 0 < rotary <= head_dim:
        raise ValueError(
            f"partial_rotary_factor {partial} of head_dim {head_dim} gives rotary_dim {rotary}: "
            "it must be even and at most head_dim"
        )
    return head_dim, rotary


def _trained_length(config: Config, parameters: RopeParameters) -> int:
    """L: the parameters' own, else the config's `original_max_position_embeddings`, else its whole length."""
    key = "original_max_position_embeddings"
    for source in (parameters, _before(config)):
        value = _get(source, key)
        if value is not None:
            return int(check_positive(key, value))
    return max_position_embeddings(config)


def _before(config: Config) -> object:
    """The config as it was before a patch; itself where there is none."""
    record = read_record(config)
    return config if record is None else record.before


def _get(source: object, key: str, default: object = None) -> Any:
    if isinstance(source, Mapping):
        return source.get(key, default)
    return getattr(source, key, default)


def _called(config: Config) -> str:
    return str(_get(config, "model_type") or type(config).__name__)
