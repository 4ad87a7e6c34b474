"""Changing live Transformers models: patch, unpatch, describe."""

from rope_scaling.patches.describe import Description, describe
from rope_scaling.patches.model import patch_model, patched, unpatch_model

__all__ = ["Description", "describe", "patch_model", "patched", "unpatch_model"]
