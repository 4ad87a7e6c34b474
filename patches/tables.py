"""Models that look their rotation up in tables of sines and cosines (GPT-J, CodeGen): scaled and lengthened tables.

Their config has no word for it, so the record in it is all that a saved checkpoint carries: plain Transformers loads
the checkpoint unpatched, and `patch_model(model)` without a scheme patches it again.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedConfig, PreTrainedModel

from rope_scaling.patches.cache_guard import guard_of, install_guard, remove_guard
from rope_scaling.patches.request import Request
from rope_scaling.patches.state import ORIGINAL
from rope_scaling.record import RECORD, PatchRecord, read_record
from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes import NoScaling, Scheme, scheme_options
from rope_scaling.schemes.factor import DEFAULT_FACTOR, resolve_factor

_TABLE = "embed_positions"
_THETA = 1e4
"""Written out in `create_sinusoidal_positions` of both architectures."""
_EXACT = 4e-3
"""Absolute: bfloat16 keeps 8 bits of a sine."""


@dataclass(frozen=True)
class TableModel:
    """A model of Transformers whose attentions hold tables.

    Attributes:
        root: The model that owns the config.
        attentions: Its attention modules.
    """

    root: PreTrainedModel
    attentions: list[nn.Module]

    @property
    def config(self) -> PreTrainedConfig:
        """The live config."""
        config: PreTrainedConfig = self.root.config
        return config

    @property
    def rope(self) -> Rope:
        """What the model was trained with."""
        dim = int(self.attentions[0].pos_embd_dim)  # type: ignore[arg-type]
        return Rope.plain(_THETA, dim, int(self.config.max_position_embeddings))


def find_tables(model: nn.Module) -> TableModel | None:
    """The tables of a model, None where it has none."""
    for root in model.modules():
        held = [m for m in root.modules() if _TABLE in m._buffers and hasattr(m, "pos_embd_dim")]
        if isinstance(root, PreTrainedModel) and held:
            return TableModel(root, held)
    return None


def patch_tables(tables: TableModel, request: Request) -> None:
    """Scale and lengthen every table.

    Raises:
        ValueError: The request does not fit, or a table is not the one that the architecture makes.
    """
    if request.layer_types is not None:
        raise ValueError(f"layer_types={request.layer_types!r}, but all layers of this model share one RoPE")
    rope = tables.rope
    for module in tables.attentions:
        _check_trained(module, rope)
    if request.original_max_length is not None:
        rope = replace(rope, original_max_position_embeddings=request.original_max_length)
    scheme, rows = _settled(rope, request)
    table = rotation_table(scheme(rope), max(rows, int(tables.config.max_position_embeddings)))
    undo_tables(tables)
    for module in tables.attentions:
        own = module.get_buffer(_TABLE)
        vars(module)[ORIGINAL] = (own, _on_saving(module))
        module._buffers[_TABLE] = table.to(own.device)
    _record(scheme, rope, rows).write(tables.config)
    if not isinstance(scheme, NoScaling):
        record = read_record(tables.config)
        assert record is not None
        install_guard(tables.root.base_model, record.fingerprint)


def undo_tables(tables: TableModel) -> None:
    """Put back the tables that the model was made with, and take the record out of its config."""
    for module in tables.attentions:
        if ORIGINAL in vars(module):
            own, handle = vars(module).pop(ORIGINAL)
            module._buffers[_TABLE] = own.to(module.get_buffer(_TABLE).device)
            handle.remove()
    remove_guard(tables.root.base_model)
    if hasattr(tables.config, RECORD):
        delattr(tables.config, RECORD)


def rotation_table(scaled: ScaledRope, rows: int) -> Tensor:
    """Sin and cos side by side, (rows, rotary_dim), float32, computed in float64."""
    inv_freq = torch.tensor(scaled.inv_freq, dtype=torch.float64, device="cpu")  # (rotary_dim / 2,)
    angles = torch.arange(rows, dtype=torch.float64, device="cpu")[:, None] * inv_freq
    return (torch.cat((angles.sin(), angles.cos()), dim=1) * scaled.attention_factor).float()


@dataclass(frozen=True)
class TableSnapshot:
    """Everything in such a model that a patch may change."""

    tables: TableModel
    held: list[tuple[Tensor, tuple[Tensor, RemovableHandle] | None]]
    record: dict[str, Any] | None
    guard: str | None

    @classmethod
    def take(cls, tables: TableModel) -> TableSnapshot:
        """Read it from a model."""
        held = [(module.get_buffer(_TABLE), vars(module).get(ORIGINAL)) for module in tables.attentions]
        record = copy.deepcopy(getattr(tables.config, RECORD, None))
        return cls(tables, held, record, guard_of(tables.root.base_model))

    def restore(self) -> None:
        """Put it back into the same model."""
        undo_tables(self.tables)
        for module, (table, original) in zip(self.tables.attentions, self.held, strict=True):
            if original is not None:
                vars(module)[ORIGINAL] = (original[0], _on_saving(module))
            module._buffers[_TABLE] = table
        if self.record is not None:
            setattr(self.tables.config, RECORD, self.record)
        if self.guard is not None:
            install_guard(self.tables.root.base_model, self.guard)


def _settled(rope: Rope, request: Request) -> tuple[Scheme, int]:
    """The scheme with its factor, and the new length."""
    default = 1.0 if isinstance(request.scheme, NoScaling) else DEFAULT_FACTOR
    factor = resolve_factor(rope, request.scheme.factor, request.factor, request.max_length, default)
    scheme: Scheme = replace(request.scheme, factor=factor)  # type: ignore[type-var]
    return scheme, math.floor(factor * rope.original_max_position_embeddings + 1e-6)


def _check_trained(module: nn.Module, rope: Rope) -> None:
    live: Tensor = vars(module)[ORIGINAL][0] if ORIGINAL in vars(module) else module.get_buffer(_TABLE)
    if live.is_meta:
        raise ValueError(f"{_TABLE} of {type(module).__name__} is on the meta device: load the weights before patching")
    meant = rotation_table(ScaledRope(rope.inv_freq, 1.0), rope.original_max_position_embeddings)
    if live.shape != meant.shape or not torch.allclose(live.to("cpu", torch.float32), meant, rtol=0, atol=_EXACT):
        raise ValueError(
            f"{_TABLE} of {type(module).__name__} is not the table that Transformers makes from its config: something "
            "else has changed this model; load it again"
        )


def _record(scheme: Scheme, rope: Rope, rows: int) -> PatchRecord:
    length = rope.original_max_position_embeddings
    return PatchRecord(scheme.name, scheme_options(scheme), length, rows, {}, native=False)


def _on_saving(module: nn.Module) -> RemovableHandle:
    handle: RemovableHandle = module.register_state_dict_pre_hook(_warn_of_saving)  # type: ignore[no-untyped-call]
    return handle


def _warn_of_saving(module: nn.Module, prefix: str, keep_vars: bool) -> None:
    warnings.warn(
        "the scaled rotary tables of this model are not saved: plain Transformers loads the checkpoint unpatched; call "
        "patch_model(model) without a scheme after loading",
        stacklevel=2,
    )
