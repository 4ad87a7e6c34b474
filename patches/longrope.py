"""Longrope checkpoints (Phi-3 and its like) without the break at their trained length."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from rope_scaling.config import layer_types_of, max_position_embeddings, read_plain_rope, read_rope_parameters
from rope_scaling.declared import declared_scheme
from rope_scaling.patches.discover import find_rotary
from rope_scaling.patches.model import patch_model
from rope_scaling.schemes import DynamicScaling, LongRoPE

ModelT = TypeVar("ModelT", bound=nn.Module)


def fix_longrope(model: ModelT) -> ModelT:
    """Let a longrope checkpoint choose its list of divisors for each row, and keep to it.

    Transformers switches from `short_factor` to `long_factor` for the whole batch when any position passes L, and
    leaves the keys in the cache as they are. Here each row has the list that its own length asks for: `generate()` and
    `rope_length` plan it before the first token, and a row that outgrows its plan has its keys rotated anew.

    Raises:
        TypeError: The model has no rotary embedding.
        ValueError: Its checkpoint is not of rope_type "longrope".
    """
    config = find_rotary(model)[0].config
    layer_type = next(iter(layer_types_of(config)), None)
    parameters = read_rope_parameters(config, layer_type)
    if parameters["rope_type"] != "longrope":
        raise ValueError(
            f"this checkpoint is of rope_type {parameters['rope_type']!r}, which has no short and long list: "
            "patch_model(model, 'dynamic-yarn') scales each row by its length"
        )
    trained = read_plain_rope(config, layer_type).original_max_position_embeddings
    scheme = declared_scheme(parameters, max_position_embeddings(config) / trained)
    assert isinstance(scheme, LongRoPE)
    return patch_model(model, DynamicScaling(scheme), on_scaled="replace")
