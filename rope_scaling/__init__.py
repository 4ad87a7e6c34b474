"""Extend the context of pretrained checkpoints by scaling their rotary position embedding."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rope_scaling.patches import Description, describe, patch_model, patched, rope_of, unpatch_model
    from rope_scaling.rope import Rope, ScaledRope
    from rope_scaling.schemes import (
        ABF,
        NTK,
        SCHEMES,
        Linear,
        Llama3,
        LongRoPE,
        NoScaling,
        NTKByParts,
        Scheme,
        YaRN,
        YaRNTurns,
        parse_scheme,
    )

__version__ = "0.1.0"

__all__ = [
    "ABF",
    "NTK",
    "SCHEMES",
    "Description",
    "Linear",
    "Llama3",
    "LongRoPE",
    "NTKByParts",
    "NoScaling",
    "Rope",
    "ScaledRope",
    "Scheme",
    "YaRN",
    "YaRNTurns",
    "describe",
    "parse_scheme",
    "patch_model",
    "patched",
    "rope_of",
    "unpatch_model",
]

_IN_PATCHES = {"Description", "describe", "patch_model", "patched", "rope_of", "unpatch_model"}
_IN_ROPE = {"Rope", "ScaledRope"}


def __getattr__(name: str) -> Any:
    # looked up when asked for: patches need torch and Transformers, and `rope-scaling --help` must not wait for them
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "patches" if name in _IN_PATCHES else "rope" if name in _IN_ROPE else "schemes"
    return getattr(import_module(f"rope_scaling.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
