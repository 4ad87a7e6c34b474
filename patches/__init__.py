"""Changing live Transformers models: patch, unpatch, describe, read."""

from rope_scaling.patches.describe import Description, describe
from rope_scaling.patches.model import patch_model, patched, unpatch_model
from rope_scaling.patches.read import rope_of

__all__ = ["Description", "describe", "patch_model", "patched", "rope_of", "unpatch_model"]
