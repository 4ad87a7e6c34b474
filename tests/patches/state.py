"""All of a model that a patch may touch, to be compared before and after."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


def rotary(model: nn.Module) -> nn.Module:
    return next(m for name, m in model.named_modules() if name.endswith("rotary_emb"))


def everything(model: PreTrainedModel) -> dict[str, Any]:
    """All that a patch may touch, and more."""
    module = rotary(model)
    return {
        "class": type(module),
        "attributes": {k: v for k, v in vars(module).items() if k not in ("_buffers", "config")},
        "buffers": {k: v.clone() for k, v in module.named_buffers()},
        "addresses": {k: v.data_ptr() for k, v in module.named_buffers()},
        "config": model.config.to_dict(),
        "config attributes": sorted(vars(model.config)),
        "generation": model.generation_config.to_dict(),
        "hooks": [(name, len(m._forward_pre_hooks), len(m._forward_hooks)) for name, m in model.named_modules()],
        "guards": [sorted(vars(m)) for m in model.modules()],
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    one, other = dict(one), dict(other)
    mine, theirs = one.pop("buffers"), other.pop("buffers")
    assert one == other
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k], theirs[k]) and mine[k].dtype == theirs[k].dtype for k in mine)
