"""Where a live model keeps its rotary embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig

_SINUSOID_TABLES = ("embed_positions", "sincos")


@dataclass(frozen=True)
class RotarySite:
    """A rotary embedding inside a model.

    Attributes:
        name: Its path in `model.named_modules()`.
        module: The module itself.
        parent: The module that holds it.
    """

    name: str
    module: nn.Module
    parent: nn.Module

    @property
    def config(self) -> PreTrainedConfig:
        """The config that it reads, the live object."""
        config = self.module.config
        assert isinstance(config, PreTrainedConfig)
        return config


def find_rotary(model: nn.Module) -> list[RotarySite]:
    """Every rotary embedding of a model, each once.

    A module counts by what it has, not by its name: frequency buffers, a config, and Transformers'
    `compute_default_rope_parameters`.

    Raises:
        TypeError: Nothing that rotates was found, or `model` is no module.
        ValueError: Something that rotates was found that is not understood; the message names it.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}: load the model first")
    sites, strange = [], []
    for name, module in model.named_modules():
        if _is_rotary(module):
            sites.append(RotarySite(name, module, model.get_submodule(name.rpartition(".")[0])))
        elif _looks_rotary(module):
            strange.append(f"{name} ({type(module).__name__})")
    if strange:
        raise ValueError(
            f"{type(model).__name__} has rotary modules that are not understood: {', '.join(strange[:4])}; "
            "nothing was changed"
        )
    if not sites:
        raise TypeError(
            f"{type(model).__name__} has no rotary position embedding that can be scaled: "
            "no module holds inv_freq (models with learned, ALiBi or sinusoid-table positions have none)"
        )
    return sites


def frequency_buffers(module: nn.Module) -> dict[str, str | None]:
    """The buffers that a rotary module rotates by: name -> layer type, None where all layers share one."""
    names = [name for name in module._buffers if name.endswith("inv_freq") and "original_" not in name]
    return {name: name.removesuffix("inv_freq").removesuffix("_") or None for name in names}


def attention_scaling(module: nn.Module, layer_type: str | None) -> float:
    """What a rotary module multiplies cos and sin with."""
    name = "attention_scaling" if layer_type is None else f"{layer_type}_attention_scaling"
    return float(getattr(module, name))


def _is_rotary(module: nn.Module) -> bool:
    return (
        isinstance(getattr(module, "config", None), PreTrainedConfig)
        and hasattr(module, "compute_default_rope_parameters")
        and bool(frequency_buffers(module))
    )


def _looks_rotary(module: nn.Module) -> bool:
    names = [*module._buffers, *vars(module)]
    own = any("inv_freq" in name for name in names)
    return own or ("Rotary" in type(module).__name__ and not list(module.children()))
