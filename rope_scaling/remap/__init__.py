"""Remapped positions as values: which relative position each pair of query and key is given; no model, torch only."""

from rope_scaling.remap.bands import Band, Bands, Region, check_cover, position_matrix
from rope_scaling.remap.maps import IDENTITY, Affine, Constant, LogRatio, Modulo, PositionMap
from rope_scaling.remap.reference import reference_attention, reference_scores

__all__ = [
    "IDENTITY",
    "Affine",
    "Band",
    "Bands",
    "Constant",
    "LogRatio",
    "Modulo",
    "PositionMap",
    "Region",
    "check_cover",
    "position_matrix",
    "reference_attention",
    "reference_scores",
]
