"""The same weights in a model of another config, without a copy of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from rope_scaling.patches.discover import find_rotary
from rope_scaling.patches.state import native_state


@contextmanager
def rebuilt(model: nn.Module, **changes: int | None) -> Iterator[nn.Module]:
    """A model of the same class whose config has `changes`; it shares its parameters with `model`.

    Raises:
        RuntimeError: The weights have other shapes than the changed config asks for.
    """
    config = copy.deepcopy(model.config)
    for key, value in changes.items():
        if value is not None:
            setattr(config.get_text_config(), key, value)  # type: ignore[union-attr, operator]
    with torch.device("meta"):
        other = type(model)(config).eval()
    other.load_state_dict(model.state_dict(), assign=True)
    for site in find_rotary(other):
        fresh = native_state(type(site.module), site.config).buffers
        place = next(model.parameters()).device
        site.module._buffers.update({name: buffer.to(place) for name, buffer in fresh.items()})
    _share_buffers(model, other)
    yield other


def _share_buffers(model: nn.Module, other: nn.Module) -> None:
    """Take over the buffers that no checkpoint holds, such as the scale of embeddings."""
    modules = dict(model.named_modules())
    for name, module in other.named_modules():
        for key, buffer in module._buffers.items():
            if buffer is not None and buffer.device.type == "meta":
                module._buffers[key] = modules[name]._buffers[key]
