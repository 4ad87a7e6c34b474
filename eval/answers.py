"""Whose answers a response cache of lm-eval holds: it keys them by text alone."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, MutableMapping
from typing import Any

import torch

from rope_scaling.eval.truncation import TruncationWarning

_OWNER = "rope-scaling: whose answers these are"
_TRUNCATED = "rope-scaling: some of these answers are to truncated requests"
_SAMPLE = 64
"""Numbers of each weight that tell a checkpoint from another of the same name."""


def fingerprint(model: torch.nn.Module, identity: Mapping[str, Any]) -> str:
    """What tells this model from every other: its identity, its frequencies, and a sample of every weight."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        digest.update(name.encode())
        if tensor.device.type != "meta" and type(tensor.data) is torch.Tensor:  # neither offloaded nor quantized
            count = tensor.numel() if "inv_freq" in name else _SAMPLE
            sample = tensor.detach().reshape(-1)[:count].to("cpu", torch.float32)
            digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def claim(cache: MutableMapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Mark a response cache as this model's.

    Raises:
        ValueError: It holds another's answers.
    """
    mine = json.dumps(identity, sort_keys=True)
    owner = cache.get(_OWNER)
    if owner is None and len(cache) == 0:
        cache[_OWNER] = mine
    elif owner != mine:
        raise ValueError(
            f"the response cache {getattr(cache, 'filename', '')} holds answers of {owner or 'an unknown model'}, "
            f"not of {mine}: give every model and scheme its own --use_cache path"
        )
    if holds_truncated(cache):
        warnings.warn(
            "the response cache holds answers to truncated requests; those that are answered from it are not "
            "counted again",
            TruncationWarning,
            stacklevel=4,
        )


def mark_truncated(cache: MutableMapping[str, Any] | None) -> None:
    """Note that answers to truncated requests go into a cache, if there is one."""
    if cache is not None:
        cache[_TRUNCATED] = True


def holds_truncated(cache: Mapping[str, Any] | None) -> bool:
    """Whether a cache has answers to truncated requests."""
    return cache is not None and _TRUNCATED in cache
