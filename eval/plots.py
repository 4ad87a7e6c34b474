"""The pictures of a RoPE and its scalings, by name, on one sheet."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rope_scaling.eval.coverage import draw_angles
from rope_scaling.eval.curves import draw_kernel, draw_wavelengths
from rope_scaling.eval.figures import Study
from rope_scaling.eval.sheet import Sheet

PICTURES: Mapping[str, Callable[[Sheet, Study], None]] = MappingProxyType(
    {"wavelengths": draw_wavelengths, "kernel": draw_kernel, "angles": draw_angles}
)


def check_pictures(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each once, all of `PICTURES` where there are none; ValueError where one is unknown."""
    for name in names:
        if name not in PICTURES:
            close = difflib.get_close_matches(name.lower(), PICTURES, n=1, cutoff=0.5)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown picture {name!r}{hint} ({', '.join(PICTURES)})")
    return tuple(dict.fromkeys(names)) or tuple(PICTURES)


def draw(study: Study, pictures: Sequence[str] = ()) -> dict[str, Any]:
    """Return these pictures, one below the other, as a Plotly figure in plain values."""
    sheet = Sheet()
    for number, name in enumerate(check_pictures(pictures)):
        sheet.cursor += 20 if number else 0
        PICTURES[name](sheet, study)
    return sheet.figure()
