"""Extend the context of pretrained checkpoints by scaling their rotary position embedding."""

from rope_scaling.patches import Description, describe, patch_model, patched, unpatch_model
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
    "unpatch_model",
]
