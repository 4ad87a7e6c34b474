"""The laws that a model with RoPE obeys, and the facts on which its weights and its config must agree, measured."""

from rope_scaling.patches.laws.check import check_laws
from rope_scaling.patches.laws.law import LawResult
from rope_scaling.patches.laws.mismatch import find_mismatches

__all__ = ["LawResult", "check_laws", "find_mismatches"]
