"""The RoPE parameters of one layer type as a config spells them, wherever configs have kept them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from rope_scaling.fields import get, positive
from rope_scaling.record import RECORD, read_record
from rope_scaling.schemes import RopeParameters

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

PROPORTIONAL = "proportional"
"""Gemma 4's `rope_type` for a plain RoPE that only the first pairs of a head turn by: the others have frequency 0."""

Config: TypeAlias = "PreTrainedConfig | Mapping[str, object]"


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
        raise ValueError(
            f"rope_parameters (or rope_scaling) hold a RoPE for each layer type ({', '.join(nested)}), "
            f"got {layer_type!r}"
        )
    if nested and layer_type is not None:
        parameters = parameters[layer_type]
    theta = parameters.get("rope_theta")
    if theta is None:
        theta = get(config, "rope_theta")
    if theta is None:
        theta = getattr(config, "default_theta", None)
    if theta is None:
        raise ValueError("the config has no rope_theta: set it in rope_parameters")
    kept = {key: value for key, value in parameters.items() if key != "type"}
    return kept | {"rope_type": _rope_type(parameters), "rope_theta": positive("rope_theta", theta)}


def layer_types_of(config: Config) -> list[str]:
    """The layer types that have a RoPE of their own; empty where all layers share one."""
    parameters = _found_parameters(config)
    nested = [key for key, value in parameters.items() if isinstance(value, Mapping)]
    stray = [str(key) for key, value in parameters.items() if key not in nested and value is not None]
    if nested and stray:
        # Transformers takes such a dict as a whole or by its entries, according to the architecture
        raise ValueError(
            f"rope_parameters hold both entries of their own ({', '.join(stray)}) and dicts ({', '.join(nested)}): "
            "write either one flat dict or one dict for each layer type"
        )
    return nested


def of_layer_type(config: Config, layer_type: str | None) -> Config:
    """The config as the layers of one type read it, where some of its keys (gemma4's head_dim) differ by layer."""
    if layer_type is None or not getattr(config, "is_heterogeneous", False):
        return config
    by_type: Any = get(config, "per_layer_config")
    resolved: Config = by_type[layer_type]
    return resolved


def before_patch(config: Config) -> Any:
    """The config's keys as they were before a patch; the config itself where there is no record of one."""
    record = read_record(config)
    if record is None:
        return config
    if not isinstance(record.before, Mapping):
        raise ValueError(f"{RECORD} of the config cannot be read: before must be a dict, got {record.before!r}")
    return record.before


def _found_parameters(config: Config) -> Mapping[str, Any]:
    """The parameters as they stand, or a TypeError where the model has no RoPE."""
    if get(config, "alibi"):
        raise TypeError(f"{_called(config)} has no RoPE: alibi=True, its positions are biases on attention")
    source = before_patch(config)
    newer, older = (_dict(source, key) for key in ("rope_parameters", "rope_scaling"))
    if newer and older and _said(newer) != _said(older):
        one, other = _said(newer), _said(older)
        differ = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        raise ValueError(
            "the config has both rope_parameters and the older rope_scaling, and they contradict each other "
            f"({', '.join(map(str, differ))}): remove one of them (Transformers would read rope_scaling)"
        )
    if newer is not None or older is not None:
        return older or newer or {}  # as Transformers does
    if get(config, "rope_theta") is None:
        raise TypeError(f"{_called(config)} has no RoPE: neither rope_parameters nor rope_theta in its config")
    return {}


def _dict(source: object, key: str) -> Mapping[str, Any] | None:
    value = get(source, key)
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{key} must be a dict, got {value!r}")
    return value


def _said(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters in one spelling, to be compared; a theta that one of two spellings leaves out is no difference."""
    kept = {key: value for key, value in parameters.items() if key not in ("type", "rope_theta") and value is not None}
    return kept | {"rope_type": parameters.get("rope_type") or parameters.get("type") or "default"}


def _rope_type(parameters: Mapping[str, Any]) -> str:
    """The type, under the newer or the older key; a plain one where neither says anything."""
    said = next((parameters[key] for key in ("rope_type", "type") if parameters.get(key) is not None), "default")
    if not isinstance(said, str) or not said:
        raise ValueError(f"rope_type must be a name such as 'default' or 'yarn', got {said!r}")
    return "default" if said == "mrope" else said  # Qwen2-VL's first config.json: plain frequencies, shared by axes


def _called(config: Config) -> str:
    return str(get(config, "model_type") or type(config).__name__)
