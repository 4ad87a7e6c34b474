"""Whether a machine can hold the keys and values of a text at all, told before hours are spent on making it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psutil  # type: ignore[import-untyped]  # accelerate brings it
import torch

from rope_scaling.eval.bins import short


def refuse_beyond_memory(model: Any, lengths: Sequence[int]) -> None:
    """Raise ValueError where the keys and values of the longest text alone take more than all memory there is.

    All there is: the machine's memory with its swap, and that of every GPU. What they take is counted too low rather
    than too high, so nothing is refused that could run.
    """
    longest, there = max(lengths, default=0), _memory()
    needed = longest * bytes_per_token(model)
    if needed > there:
        raise ValueError(
            f"a text of {short(longest)} tokens takes {needed / 1e9:.0f} GB of keys and values with this model, and "
            f"this machine has {there / 1e9:.0f} GB of memory in all: ask for --lengths up to "
            f"{short(there // bytes_per_token(model) // 1024 * 1024)}"
        )


def bytes_per_token(model: Any) -> int:
    """Return what one token's keys and values take at least; 0 where the config does not tell it in the usual words."""
    config = model.config.get_text_config()
    layers, heads = (getattr(config, name, None) for name in ("num_hidden_layers", "num_attention_heads"))
    if not layers or not heads or getattr(config, "kv_lora_rank", None):  # latents may be kept in place of keys
        return 0
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * layers
    full = kinds.count("full_attention") - (getattr(config, "num_kv_shared_layers", None) or 0)
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
    of_keys = getattr(config, "num_key_value_heads", None) or 1
    return max(full, 0) * 2 * int(of_keys * width) * int(torch.empty(0, dtype=model.dtype).element_size())


def _memory() -> int:
    """Return the bytes of all memory."""
    gpus = (torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count()))
    return int(psutil.virtual_memory().total + psutil.swap_memory().total + sum(gpus))
