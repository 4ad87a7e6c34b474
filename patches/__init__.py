"""Changing live Transformers models: patch, unpatch, describe, read."""

from rope_scaling.patches.describe import Description, describe
from rope_scaling.patches.dynamic import rope_length
from rope_scaling.patches.inspect_model import inspect_model
from rope_scaling.patches.longrope import fix_longrope
from rope_scaling.patches.model import patch_model, patched
from rope_scaling.patches.read import rope_of
from rope_scaling.patches.unpatch import unpatch_model

__all__ = [
    "Description",
    "describe",
    "fix_longrope",
    "inspect_model",
    "patch_model",
    "patched",
    "rope_length",
    "rope_of",
    "unpatch_model",
]
