"""Attention at remapped positions as pure tensors: no model, no cache, no architecture."""

from rope_scaling.patches.remap.engine.attend import attend
from rope_scaling.patches.remap.engine.one_query import attend_one_query, key_turn, keys_for_one_query
from rope_scaling.patches.remap.engine.pairs import RotatedPairs, Turn
from rope_scaling.patches.remap.engine.visible import Visible

__all__ = ["RotatedPairs", "Turn", "Visible", "attend", "attend_one_query", "key_turn", "keys_for_one_query"]
