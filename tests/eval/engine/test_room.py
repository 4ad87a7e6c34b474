"""Layers with room hold what Transformers' own layers hold, and copy nothing while they have it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from rope_scaling.eval.engine.room import RoomyLayer, make_room, release

ROUNDS = [7, 5, -4, 1, -9, 12, -12, 3]
"""Tokens added and, where negative, cropped."""


def filled(tokens: int, rows: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 2, tokens, 8), torch.randn(rows, 2, tokens, 4)  # values may be narrower than keys


def with_room(tokens: int) -> Any:
    cache = DynamicCache()
    cache.update(*filled(0), 0)
    make_room(cache, tokens)
    return cache.layers[0]


@pytest.mark.parametrize("room", [1, 10, 50])
def test_it_holds_what_transformers_own_layer_holds(room: int) -> None:
    torch.manual_seed(0)
    ours, theirs = with_room(room), DynamicLayer()
    for tokens in ROUNDS:
        if tokens < 0:
            ours.crop(tokens)
            theirs.crop(tokens)
        else:
            new = filled(tokens)
            got, expected = ours.update(*new), theirs.update(*new)
            assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
        assert torch.equal(ours.keys, theirs.keys)
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_it_moves_only_when_the_room_is_used_up() -> None:
    layer = with_room(20)
    layer.update(*filled(5))
    address = layer.keys.data_ptr()
    layer.update(*filled(10))
    layer.crop(-8)
    layer.update(*filled(13))
    assert layer.keys.data_ptr() == address
    layer.update(*filled(1))
    assert layer.keys.data_ptr() != address


def test_a_copy_that_went_its_own_way_shares_nothing() -> None:
    layer = with_room(20)
    layer.update(*filled(5))
    other = copy.deepcopy(layer, {id(one): one for one in (layer.keys, layer.values, *layer.held)})
    other.batch_repeat_interleave(3)
    before = layer.keys.clone()
    other.update(*filled(2, rows=3))
    layer.update(*filled(2))
    assert torch.equal(layer.keys[..., :5, :], before)
    assert torch.equal(other.keys[:1, :, :5], before)
    assert other.keys.shape[0] == 3


def test_released_layers_hold_no_more_than_they_show() -> None:
    cache = DynamicCache()
    cache.update(*filled(3), 0)
    make_room(cache, 50)
    cache.update(*filled(3), 0)
    release(cache)
    (layer,) = cache.layers
    assert isinstance(layer, RoomyLayer)
    assert layer.keys.untyped_storage().nbytes() == layer.keys.numel() * 4


def test_layers_of_other_kinds_are_left_alone() -> None:
    class Own(DynamicLayer):
        pass

    cache = DynamicCache()
    cache.layers = [Own()]
    make_room(cache, 9)
    assert type(cache.layers[0]) is Own
