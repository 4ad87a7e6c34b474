"""The forward of a rotary module whose rows have frequencies of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rope_scaling.patches.dynamic.call import rows_of
from rope_scaling.patches.dynamic.grid import FACTORS, FREQUENCIES, GRIDS
from rope_scaling.patches.dynamic.running import running


def rowwise(base: type[nn.Module]) -> Callable[..., Any]:
    """The forward of `base`, taken for each row with that row's frequencies.

    It is Transformers' own code, operation by operation, seen through a stand-in for the module that shows one row of
    the grid as `inv_freq` and `attention_scaling`: a row at the trained scale gets the trained numbers bit for bit.
    """
    plain = plain_forward(base)

    @torch.no_grad()
    def forward(self: nn.Module, x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> Any:
        prefix = "" if layer_type is None else f"{layer_type}_"
        named = () if layer_type is None else (layer_type,)
        for probe in running.probes:
            if probe.module is self and probe.prefix == prefix:
                return plain(OneRow(self, prefix, probe.inv_freq, probe.factor), x, position_ids, *named)
        if prefix + FREQUENCIES not in self._buffers:  # a layer type that is not scaled
            return plain(self, x, position_ids, *named)
        rows = rows_of(self, position_ids)  # (rows,)
        inv_freq = self.get_buffer(prefix + FREQUENCIES)[rows]  # (rows, pairs)
        factors = self.get_buffer(prefix + FACTORS)[rows]  # (rows,)
        if rows.shape[0] == 1:
            return plain(OneRow(self, prefix, inv_freq[0], factors[0]), x, position_ids, *named)
        axis = position_ids.dim() - 2  # (rows, tokens), or (axes, rows, tokens)
        positions = position_ids.expand(*position_ids.shape[:axis], rows.shape[0], -1)
        if vars(self)[GRIDS][prefix].broadcasts:
            return plain(AllRows(self, prefix, inv_freq, factors), x, positions, *named)

        def one(positions: Tensor, inv_freq: Tensor, factor: Tensor) -> Any:
            return plain(OneRow(self, prefix, inv_freq, factor), like, positions.unsqueeze(axis), *named)

        like = x[:1]  # of which only the dtype and the device are read
        turned = torch.vmap(one, in_dims=(axis, 0, 0))(positions, inv_freq, factors)
        return tuple(part.squeeze(1) for part in turned) if isinstance(turned, tuple) else turned.squeeze(1)

    return forward


def takes_all_rows(module: nn.Module, prefix: str) -> bool:
    """Whether the forward of an unpatched module makes of all rows at once what it makes of each, bit for bit."""
    plain, named = plain_forward(type(module)), (prefix[:-1],) if prefix else ()
    own = module.get_buffer(prefix + "inv_freq")
    inv_freq = torch.stack((own, own / 2))  # (rows, pairs)
    factors = torch.tensor([1.0, 1.5], dtype=torch.float32, device="cpu")
    x = torch.zeros(2, 3, 1, dtype=torch.float32, device="cpu")
    positions = torch.tensor([[0, 1, 2], [3, 5, 7]], device="cpu")
    try:
        together = _parts(plain(AllRows(module, prefix, inv_freq, factors), x, positions, *named))
        for row in range(2):
            shown = OneRow(module, prefix, inv_freq[row], factors[row])
            alone = _parts(plain(shown, x[:1], positions[row : row + 1], *named))
            if not all(torch.equal(a[row : row + 1], b) for a, b in zip(together, alone, strict=True)):
                return False
    except Exception:  # it puts frequencies into a shape of their own
        return False
    return True


def _parts(turned: Any) -> tuple[Tensor, ...]:
    return turned if isinstance(turned, tuple) else (turned,)


def plain_forward(base: type[nn.Module]) -> Callable[..., Any]:
    """The forward of a rotary class without Transformers' `dynamic_rope_update`."""
    plain: Callable[..., Any] = inspect.unwrap(base.forward)
    return plain


class OneRow:
    """A rotary module as its own forward sees it, with the frequencies of one row; the module stays as it is."""

    def __init__(self, module: nn.Module, prefix: str, inv_freq: Tensor, factor: Tensor) -> None:
        self._module = module
        self._own = {prefix + "inv_freq": inv_freq, prefix + "attention_scaling": factor}

    def __getattr__(self, name: str) -> Any:
        return self._own[name] if name in self._own else getattr(self._module, name)


class AllRows(OneRow):
    """The same with the frequencies of all rows, which meet the positions, (rows, tokens, 1), by broadcasting."""

    def __init__(self, module: nn.Module, prefix: str, inv_freq: Tensor, factors: Tensor) -> None:
        super().__init__(module, prefix, inv_freq[:, None], factors[:, None, None])
