"""Which rotary modules are a language model's, and which turn the patches of images or the frames of sound."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel


def of_the_text(model: nn.Module, paths: list[str]) -> list[str]:
    """Those of `paths` that lie in a model of Transformers which takes token ids; all where none does.

    A longer text makes no larger image. A tower is patched when it is asked for: `patch_model(model.visual, ...)`.
    Configs do not tell the two apart: some towers' have a `vocab_size` or `max_position_embeddings` left over, and
    BLT's transformer over patches of bytes has no vocabulary.
    """
    return [path for path in paths if _is_of_text(model, path)] or paths


def _is_of_text(model: nn.Module, path: str) -> bool:
    module, owner = model.get_submodule(path), _owner(model, path)
    if owner is None or hasattr(module, "compute_axial_rope_parameters"):
        return False
    if _has_parts(getattr(module, "config", owner.config)):
        return False  # a module between the towers, such as MusicFlamingo's time embedding
    return "text" in getattr(owner, "input_modalities", "text") and owner.main_input_name == "input_ids"


def _owner(model: nn.Module, path: str) -> PreTrainedModel | None:
    """The innermost model of Transformers around a module."""
    while True:
        module = model.get_submodule(path)
        if isinstance(module, PreTrainedModel):
            return module
        if not path:
            return None
        path = path.rpartition(".")[0]


def _has_parts(config: PreTrainedConfig) -> bool:
    """Whether a config is that of several models together, one of them a language model."""
    return isinstance(getattr(config, "text_config", None), PreTrainedConfig)
