"""Pictures on disk: PNG, SVG or a page that needs no network, written whole or not at all."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rope_scaling.eval.results import refuse_existing, write_whole

SUFFIXES = (".html", ".png", ".svg")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ margin: 1em auto; width: 800px; background: white; }}</style>
</head>
<body>
{figure}
</body>
</html>
"""


@dataclass(frozen=True)
class PlotJob:
    """One call of `rope-scaling plot`.

    Attributes:
        checkpoint: Folder or Hub name; only its config is read.
        schemes: As typed.
        output: What to write; its suffix says what kind of file.
        pictures: Which of `PICTURES`; all where empty.
        layer_type: Which layers, where a checkpoint has a RoPE for each type.
    """

    checkpoint: str
    schemes: tuple[str, ...]
    output: Path
    pictures: tuple[str, ...] = ()
    layer_type: str | None = None
    force: bool = False
    on_scaled: str | None = None
    original_max_length: int | None = None

    def __post_init__(self) -> None:
        if self.output.suffix.lower() not in SUFFIXES:
            raise ValueError(f"cannot write {self.output.name!r}: end it in {', '.join(SUFFIXES)}")


def run_plot(job: PlotJob) -> None:
    """Draw the pictures of a checkpoint and write them."""
    refuse_existing(job.output, job.force)
    need_plotly()
    from rope_scaling.eval.figures import load_study
    from rope_scaling.eval.plots import check_pictures, draw

    pictures = check_pictures(job.pictures)
    study = load_study(
        job.checkpoint,
        job.schemes,
        layer_type=job.layer_type,
        on_scaled=job.on_scaled,
        original_max_length=job.original_max_length,
    )
    write_figure(draw(study, pictures), job.output, title=f"RoPE of {study.name}", force=job.force)


def write_figure(figure: Mapping[str, Any], path: Path, *, title: str, force: bool = False) -> None:
    """Write a Plotly figure as the suffix of `path` says."""
    refuse_existing(path, force)
    kind = path.suffix.lower()
    content = page(figure, title).encode() if kind == ".html" else image(figure, kind[1:])
    write_whole(path, content, force=force)


def page(figure: Mapping[str, Any], title: str) -> str:
    """A page with plotly.js inside of it, which opens from disk and asks nothing of a network."""
    from plotly import io

    shown = io.to_html(
        figure,
        config={"displaylogo": False, "showSendToCloud": False},
        include_plotlyjs=True,
        include_mathjax=False,
        full_html=False,
        div_id="picture",
    )
    return _PAGE.format(title=html.escape(title), figure=shown)


def image(figure: Mapping[str, Any], kind: str) -> bytes:
    """PNG at twice the pixels, for print, or SVG; drawn by a Chrome without a window.

    Raises:
        ModuleNotFoundError: kaleido, which drives Chrome, is not installed.
        ValueError: There is no Chrome, or it does not start.
    """
    if find_spec("kaleido") is None:
        raise ModuleNotFoundError(f"a .{kind} needs kaleido: pip install kaleido, or write .html instead")
    import kaleido  # not through plotly.io, which cannot say mathjax=False: Chrome would ask a CDN for MathJax

    size = {side: figure["layout"][side] for side in ("width", "height")}
    options = {"format": kind, "scale": 2 if kind == "png" else 1, **size}
    try:
        drawn: bytes = kaleido.calc_fig_sync(dict(figure), opts=options, kopts={"mathjax": False})
    except Exception as error:  # a browser fails in many ways, and kaleido's exceptions follow it
        raise ValueError(
            f"a .{kind} is drawn by Chrome, which could not be used ({type(error).__name__}): "
            "write .html instead, or install Chrome or Chromium (apt-get install chromium, or plotly_get_chrome)"
        ) from error
    return without_chance(drawn.decode()).encode() if kind == "svg" else drawn


def without_chance(svg: str) -> str:
    """The same drawing under ids that do not change from one drawing to the next."""
    drawn_by_lot = dict.fromkeys(re.findall(r'id="defs-([0-9a-f]{6})"', svg))
    for number, old in enumerate(drawn_by_lot):
        svg = svg.replace(old, f"id{number}")
    return svg


def need_plotly() -> None:
    """ModuleNotFoundError with the remedy where Plotly is missing."""
    if find_spec("plotly") is None:
        raise ModuleNotFoundError('pictures need plotly: pip install "rope-scaling[report]"')
