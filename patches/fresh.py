"""Rotary modules made anew by Transformers, which a live one is compared with and repaired from."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedConfig


def make_fresh(base: type[nn.Module], config: PreTrainedConfig) -> nn.Module:
    """A rotary module of Transformers' own class `base`, made from `config` on the CPU.

    Neither a surrounding `torch.device("meta")` nor `torch.inference_mode()` reaches inside: the first would leave it
    without numbers, the second with tensors that nothing may write to later.

    Raises:
        ValueError: The class cannot be made from a config alone.
    """
    try:
        with torch.device("cpu"), torch.inference_mode(False):
            return base(config)
    except Exception as error:
        raise ValueError(f"{base.__name__} cannot be made from this config: {error}") from error
