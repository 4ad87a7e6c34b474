"""Models that Transformers itself makes with the parameters that a patch should amount to."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from rope_scaling import patch_model
from tests.models import TRAINED, tiny_config, tiny_model, tokens

FACTOR = 4.0
IDS = tokens(3 * TRAINED)
"""A text within the new length and beyond the old one, (1, 192)."""


def yarn_config(model_type: str = "llama", **changes: Any) -> PreTrainedConfig:
    """A config whose RoPE is YaRN by `FACTOR`, in Transformers' own words."""
    plain = tiny_config(model_type, **changes).rope_parameters
    said = plain | {"rope_type": "yarn", "factor": FACTOR, "original_max_position_embeddings": TRAINED}
    return tiny_config(model_type, rope_parameters=said, max_position_embeddings=int(FACTOR * TRAINED), **changes)


def linear_config(factor: float, **changes: Any) -> PreTrainedConfig:
    """A llama config whose RoPE is interpolated linearly, in Transformers' own words."""
    said = {"rope_type": "linear", "rope_theta": 1e4, "factor": factor}
    return tiny_config(rope_parameters=said, max_position_embeddings=int(factor * TRAINED), **changes)


def twin_of_patched(model_type: str = "llama", **changes: Any) -> PreTrainedModel:
    """What `patched_yarn` should be, made without patching."""
    return tiny_model(yarn_config(model_type, **changes))


def patched_yarn(model: PreTrainedModel | str = "llama", **changes: Any) -> PreTrainedModel:
    """A model patched with YaRN by `FACTOR`."""
    if isinstance(model, str):
        model = tiny_model(tiny_config(model, **changes))
    return patch_model(model, "yarn", factor=FACTOR)
