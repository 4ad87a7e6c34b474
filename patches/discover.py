"""Where a live model keeps its rotary embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_scaling.patches.towers import of_the_text

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
    """Every rotary embedding of a model, each once; not those of towers for images or sound beside a language model.

    A module counts by what it has, not by its name: frequency buffers, a config, and Transformers'
    `compute_default_rope_parameters`, or what makes the 2-D RoPE of an image tower.

    Raises:
        TypeError: Nothing that rotates was found, or `model` is no module.
        ValueError: Something that rotates was found that is not understood; the message names it.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}: load the model first")
    sites, strange = [], []
    rotary = {n: m for n, m in model.named_modules() if _is_rotary(m) or is_axial(m) or _looks_rotary(m)}
    for name in of_the_text(model, list(rotary)):
        module = rotary[name]
        if _is_rotary(module) or is_axial(module):
            sites.append(RotarySite(name, module, model.get_submodule(name.rpartition(".")[0])))
        else:
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


def turning(inv_freq: Tensor) -> Tensor:
    """The frequencies of the pairs that turn, float64 on the CPU: a proportional RoPE fills up with zeros."""
    found = inv_freq.detach().to("cpu", torch.float64)
    return found[: int(found.count_nonzero())] if not found[int(found.count_nonzero()) :].any() else found


def attention_scaling(module: nn.Module, layer_type: str | None) -> float:
    """What a rotary module multiplies cos and sin with."""
    parameters = getattr(module.config, "rope_parameters", None) or {}
    if layer_type is None and parameters.get("rope_type") != "default" and "long_mscale" in parameters:
        return float(parameters["long_mscale"])  # phimoe reads this in its forward
    name = "attention_scaling" if layer_type is None else f"{layer_type}_attention_scaling"
    return float(getattr(module, name))


def is_axial(module: nn.Module) -> bool:
    """Whether a module turns image patches by rows and columns, with frequencies made from nothing but a theta."""
    config = getattr(module, "config", None)
    if not isinstance(config, PreTrainedConfig) or "inv_freq" not in module._buffers:
        return False
    plain = getattr(config, "rope_theta", None) is not None and getattr(config, "rope_parameters", None) is None
    return hasattr(module, "compute_axial_rope_parameters") or (
        plain and not hasattr(module, "compute_default_rope_parameters")  # DINOv3
    )


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
