"""Memory linear in length, no wait for a device, and kernels of devices that are not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rope_scaling.patches.remap.engine import RotatedPairs, Visible, attend, kernels, rows, tiled
from rope_scaling.patches.remap.engine.coded import decode, encode
from rope_scaling.remap import Bands
from tests.patches.remap.engine_cases import BANDS, bands_of, self_extend, turned_keys

LONG = [self_extend(70, 3), bands_of("dca", 128, factor=16, start=0), bands_of("lampe", 256, factor=8, start=0)]


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(one, Tensor):
                self.size = max(self.size, one.untyped_storage().nbytes() // one.element_size())
        return made


def inputs(tokens: int, bands: Bands, device: str = "cpu", dtype: torch.dtype = torch.float32) -> tiled.Inputs:
    numbers, query, key = encode(bands, torch.arange(tokens, device=device), torch.arange(tokens, device=device))
    pairs = RotatedPairs(torch.full((4,), 0.1, device=device))
    vectors = (torch.zeros(1, heads, tokens, 8, device=device, dtype=dtype) for heads in (4, 2, 2))
    return tiled.Inputs(*vectors, decode(tuple(numbers)), query, key, pairs, 1.0)


def by_tiles(tokens: int, bands: Bands) -> None:
    given = inputs(tokens, bands)
    whole = tiled.forward(given)
    tiled.backward(given, torch.zeros_like(whole.out), whole)


def by_rows(tokens: int, bands: Bands) -> None:
    given = inputs(tokens, bands)
    index = torch.arange(tokens)[None]
    visible = Visible(lambda row, head, i, j: (j <= i) & (i >= 0) & (head >= 0), index, index)
    rows.attend_by_rows(given.query, given.key, given.value, bands, given.pairs, 1.0, visible, None, None)


@pytest.mark.parametrize("bands", LONG, ids=["self-extend", "dca", "lampe"])
@pytest.mark.parametrize("way", [by_tiles, by_rows])
def test_no_tensor_grows_with_the_square_of_the_length(
    way: Callable[[int, Bands], None], bands: Bands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_SCORES", 2**18)
    with Largest() as largest:
        way(2048, bands)
    assert 4 * 8 * 2048 <= largest.size <= 2 * 2**18 < 2048**2 / 4


@pytest.mark.parametrize("name", BANDS)
@pytest.mark.parametrize("masked", [False, True])
def test_on_the_meta_device_there_is_nothing_to_wait_for(name: str, masked: bool) -> None:
    tokens = 40
    query = torch.empty(2, 4, 30, 16, device="meta", requires_grad=True)
    key, value = (torch.empty(2, 2, tokens, dims, device="meta") for dims in (16, 12))
    index = torch.arange(tokens, device="meta")[None]
    visible = Visible(lambda row, head, i, j: j <= i, index[:, 10:], index) if masked else None
    pairs = RotatedPairs(torch.empty(8, device="meta"))
    out = attend(query, key, value, BANDS[name], pairs, visible=visible)
    assert out.shape == (2, 30, 4, 12)
    out.sum().backward()
    assert query.grad is not None
    turned = turned_keys(key, index[:, -1:], index, BANDS[name], pairs)
    assert turned.shape == key.shape


@pytest.mark.parametrize("bands", LONG, ids=["self-extend", "dca", "lampe"])
@pytest.mark.parametrize("kernel", ["flash", "efficient", "by hand"])
def test_no_value_is_read_and_shapes_are_those_of_the_kernels(
    kernel: str, bands: Bands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device reading a value is an error; torch's own meta functions take what its kernels are given."""
    monkeypatch.setattr(kernels, "kernel_of", lambda *given: "by hand" if isinstance(given[-1], Tensor) else kernel)
    dtype = torch.float32 if kernel == "efficient" else torch.bfloat16
    given = inputs(500, bands, "meta", dtype)
    whole = tiled.forward(given)
    assert (whole.out.shape, whole.out.dtype) == (given.query.shape, dtype)
    assert (whole.lse.shape, whole.lse.dtype) == (given.query.shape[:3], torch.float32)
    found = tiled.backward(given, torch.empty_like(whole.out), whole)
    for one, other in zip(found, (given.query, given.key, given.value), strict=True):
        assert (one.shape, one.dtype) == (other.shape, dtype)
