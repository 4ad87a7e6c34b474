"""The scaling schemes by the names that users call them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rope_scaling.schemes.abf import ABF
from rope_scaling.schemes.base import Scheme
from rope_scaling.schemes.dca import DCA
from rope_scaling.schemes.dynamic import Dynamic
from rope_scaling.schemes.lampe import LaMPE
from rope_scaling.schemes.linear import Linear
from rope_scaling.schemes.llama3 import Llama3
from rope_scaling.schemes.longrope import LongRoPE
from rope_scaling.schemes.none import NoScaling
from rope_scaling.schemes.ntk import NTK
from rope_scaling.schemes.ntk_by_parts import NTKByParts
from rope_scaling.schemes.rerope import LeakyReRoPE, ReRoPE
from rope_scaling.schemes.self_extend import SelfExtend
from rope_scaling.schemes.string import STRING
from rope_scaling.schemes.yarn import YaRN, YaRNTurns

SCHEMES: Mapping[str, type[Scheme]] = MappingProxyType(
    {
        "none": NoScaling,
        "linear": Linear,
        "ntk": NTK,
        "ntk-by-parts": NTKByParts,
        "yarn": YaRN,
        "yarn-turns": YaRNTurns,
        "llama3": Llama3,
        "longrope": LongRoPE,
        "abf": ABF,
        "dynamic": Dynamic,
        "self-extend": SelfExtend,
        "rerope": ReRoPE,
        "leaky-rerope": LeakyReRoPE,
        "dca": DCA,
        "string": STRING,
        "lampe": LaMPE,
    }
)
