"""Scaling schemes: frozen values that map a `Rope` and a length to a `ScaledRope`."""

from rope_scaling.schemes.abf import ABF
from rope_scaling.schemes.base import RopeParameters, Scheme
from rope_scaling.schemes.by_length import DynamicScaling
from rope_scaling.schemes.dca import DCA
from rope_scaling.schemes.dynamic import Dynamic
from rope_scaling.schemes.lampe import LaMPE
from rope_scaling.schemes.linear import Linear
from rope_scaling.schemes.llama3 import Llama3
from rope_scaling.schemes.longrope import LongRoPE
from rope_scaling.schemes.none import NoScaling
from rope_scaling.schemes.ntk import NTK
from rope_scaling.schemes.ntk_by_parts import NTKByParts
from rope_scaling.schemes.registry import SCHEMES
from rope_scaling.schemes.remapped import Remap, is_remap
from rope_scaling.schemes.rerope import LeakyReRoPE, ReRoPE
from rope_scaling.schemes.self_extend import SelfExtend
from rope_scaling.schemes.spec import make_scheme, parse_scheme, scheme_options
from rope_scaling.schemes.string import STRING
from rope_scaling.schemes.yarn import YaRN, YaRNTurns

__all__ = [
    "ABF",
    "DCA",
    "NTK",
    "SCHEMES",
    "STRING",
    "Dynamic",
    "DynamicScaling",
    "LaMPE",
    "LeakyReRoPE",
    "Linear",
    "Llama3",
    "LongRoPE",
    "NTKByParts",
    "NoScaling",
    "ReRoPE",
    "Remap",
    "RopeParameters",
    "Scheme",
    "SelfExtend",
    "YaRN",
    "YaRNTurns",
    "is_remap",
    "make_scheme",
    "parse_scheme",
    "scheme_options",
]
