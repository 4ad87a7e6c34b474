"""What patching does to one architecture under every scheme, measured against models that Transformers makes itself."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rope_scaling import LongRoPE, Scheme, patch_model, unpatch_model
from tests.architectures.native import FACTOR, SCHEMES, divisors, native_config, with_mscale
from tests.architectures.shrink import TRAINED, tiny_config, tiny_model

TEXT = 3 * TRAINED // 2
"""Tokens of every text: longer than L, so that scaling matters."""
TABLE_ONLY = ("roformer",)
"""A table of L rows is all it has: no longer text can be given to it, and no rope_parameters."""


@dataclass(frozen=True)
class Cell:
    """What one scheme did.

    Attributes:
        native: Largest difference of a logit from the native model's.
        reloaded: The same from the saved and reloaded model's.
        moved: The same from the unpatched model's.
        undone: Whether undoing gave back every logit and all state, bit for bit.
        refused: The error's text, where there was one; then nothing else was measured.
    """

    native: float = 0.0
    reloaded: float = 0.0
    moved: float = 0.0
    undone: bool = True
    refused: str = ""

    def __str__(self) -> str:
        worst = max(self.native, self.reloaded)
        return "refused" if self.refused else "=" if worst == 0 else f"≈ {worst:.0e}"


@functools.cache
def architectures() -> list[str]:
    """Model types with RoPE; one that only wraps the language model of another stands in that one's row."""
    return [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if _says(name, "rope_parameters", "rotary_value")]


def by_tables() -> list[str]:
    """Model types that rotate by tables and say nothing of it in their config: no native model is their equal."""
    said = [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if _says(name, "rotary_dim")]
    return [name for name in said if name not in architectures()]


def examine(model_type: str, folder: Path) -> dict[str, Cell]:
    """Every cell of one row."""
    plain = tiny_config(model_type)
    mscale = None if model_type in TABLE_ONLY else with_mscale(plain)
    cells = {}
    for scheme in SCHEMES:
        config = mscale if scheme == "yarn with mscale" and mscale is not None else plain
        cells[scheme] = _examine(config, scheme, folder / scheme)
    return cells


def _examine(config: PreTrainedConfig, scheme: str, folder: Path) -> Cell:
    model = tiny_model(type(config).from_dict(config.to_dict()))
    before, state, pairs = logits(model), everything(model), pairs_of(model)
    try:
        patch_model(model, scheme_of(scheme, pairs), factor=None if scheme == "none" else FACTOR)
    except (TypeError, ValueError) as error:
        return Cell(refused=str(error), undone=same(everything(model), state) and torch.equal(logits(model), before))
    after = logits(model)
    twin = tiny_model(native_config(config, scheme, pairs))
    twin.load_state_dict(model.state_dict())
    native = logits(twin)
    model.save_pretrained(folder)
    reloaded = logits(type(model).from_pretrained(folder).eval())
    unpatch_model(model)
    undone = same(everything(model), state) and torch.equal(logits(model), before)
    return Cell(_apart(after, native), _apart(after, reloaded), _apart(after, before), undone)


def scheme_of(name: str, pairs: dict[str | None, int]) -> str | Scheme:
    """What `patch_model` is given."""
    return LongRoPE(divisors(next(iter(_scaled(pairs).values())))) if name == "longrope" else name.split()[0]


def pairs_of(model: nn.Module) -> dict[str | None, int]:
    """Turning pairs of each layer type, read off the buffers that Transformers made."""
    found: dict[str | None, int] = {}
    for path, buffer in model.named_buffers():
        name = path.rpartition(".")[2]
        if name.endswith("inv_freq") and "original" not in name:
            found[name.removesuffix("inv_freq").removesuffix("_") or None] = int(buffer.count_nonzero())
    return found


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    """(1, tokens, vocab) of one forward without a cache."""
    count = TRAINED if model.config.model_type in TABLE_ONLY else TEXT
    ids = torch.randint(3, 97, (1, count), generator=torch.Generator().manual_seed(1))
    out: Tensor = model(ids, use_cache=False).logits
    return out


def everything(model: PreTrainedModel) -> dict[str, Any]:
    """All that a patch may touch, in every module."""
    config = {k: v for k, v in model.config.to_dict().items() if k not in ("architectures", "dtype")}  # set by saving
    held: dict[str, Any] = {"config": config, "generation": model.generation_config.to_dict()}
    for name, module in model.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, (int, float, str))}
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        reads = id(vars(module).get("config"))
        held[f"module {name}"] = (type(module), sorted(vars(module)), plain, hooks, reads)
    return held | {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two states of one model are the same, bit for bit."""
    tensors = {key for key, value in one.items() if isinstance(value, tuple) and isinstance(value[0], Tensor)}
    plain = all(one[key] == other[key] for key in one.keys() - tensors)
    return one.keys() == other.keys() and plain and all(torch.equal(one[key][1], other[key][1]) for key in tensors)


def _scaled(pairs: dict[str | None, int]) -> dict[str | None, int]:
    return {kind: count for kind, count in pairs.items() if "sliding" not in str(kind)} or pairs or {None: 4}


def _apart(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def _says(model_type: str, *keys: str) -> bool:
    try:
        config = CONFIG_MAPPING[model_type]()
    except Exception:  # gemma4_assistant's default config is refused by its own checks
        return False
    text = config.get_text_config(decoder=True)
    if text is not config and text.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return False
    return any(getattr(text, key, None) is not None for key in keys)
