"""Extend the context of pretrained checkpoints by scaling their rotary position embedding."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rope_scaling.angles import rotary_cos_sin
    from rope_scaling.axial import (
        AxialRope,
        axial_rotary,
        grid_positions,
        interleaved_axes,
        section_axes,
        split_frequencies,
    )
    from rope_scaling.layouts import Layout, convert_layout, convert_projection
    from rope_scaling.patches import (
        Description,
        describe,
        fix_longrope,
        inspect_model,
        patch_model,
        patched,
        rope_length,
        rope_of,
        unpatch_model,
    )
    from rope_scaling.rope import Rope, ScaledRope
    from rope_scaling.rotary import apply_rotary
    from rope_scaling.schemes import (
        ABF,
        DCA,
        NTK,
        SCHEMES,
        STRING,
        DynamicScaling,
        LaMPE,
        LeakyReRoPE,
        Linear,
        Llama3,
        LongRoPE,
        NoScaling,
        NTKByParts,
        ReRoPE,
        Scheme,
        SelfExtend,
        YaRN,
        YaRNTurns,
        parse_scheme,
    )

__version__ = "0.1.0"

__all__ = [
    "ABF",
    "DCA",
    "NTK",
    "SCHEMES",
    "STRING",
    "AxialRope",
    "Description",
    "DynamicScaling",
    "LaMPE",
    "Layout",
    "LeakyReRoPE",
    "Linear",
    "Llama3",
    "LongRoPE",
    "NTKByParts",
    "NoScaling",
    "ReRoPE",
    "Rope",
    "ScaledRope",
    "Scheme",
    "SelfExtend",
    "YaRN",
    "YaRNTurns",
    "apply_rotary",
    "axial_rotary",
    "convert_layout",
    "convert_projection",
    "describe",
    "fix_longrope",
    "grid_positions",
    "inspect_model",
    "interleaved_axes",
    "parse_scheme",
    "patch_model",
    "patched",
    "rope_length",
    "rope_of",
    "rotary_cos_sin",
    "section_axes",
    "split_frequencies",
    "unpatch_model",
]

_HOMES = {
    "angles": ("rotary_cos_sin",),
    "axial": (
        "AxialRope",
        "axial_rotary",
        "grid_positions",
        "interleaved_axes",
        "section_axes",
        "split_frequencies",
    ),
    "layouts": ("Layout", "convert_layout", "convert_projection"),
    "patches": (
        "Description",
        "describe",
        "fix_longrope",
        "inspect_model",
        "patch_model",
        "patched",
        "rope_length",
        "rope_of",
        "unpatch_model",
    ),
    "rope": ("Rope", "ScaledRope"),
    "rotary": ("apply_rotary",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # looked up when asked for: patches need torch and Transformers, and `rope-scaling --help` must not wait for them
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"rope_scaling.{_HOME_OF.get(name, 'schemes')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
