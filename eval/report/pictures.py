"""Charts as files of their own: PNG and SVG on white, with title and legend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rope_scaling.eval.images import without_chance
from rope_scaling.eval.report.charts import Chart, escaped
from rope_scaling.eval.sheet import shortened

KINDS = ("png", "svg")


def picture_paths(charts: Sequence[Chart], folder: Path) -> list[tuple[Chart, Path]]:
    """Return where each chart goes, in every kind."""
    return [(chart, folder / f"{chart.name}.{kind}") for chart in charts for kind in KINDS]


def draw(pictures: Sequence[tuple[Chart, Path]], name: str) -> dict[Path, bytes]:
    """Return the files' contents, drawn by one Chrome, which takes longer to start than to draw.

    Raises:
        ValueError: There is no Chrome, or it does not start.
    """
    if not pictures:
        return {}
    try:
        with ThreadPoolExecutor(1) as pool:  # a notebook's thread has an event loop already
            drawn = pool.submit(lambda: asyncio.run(_draw(pictures, name))).result()
    except Exception as error:  # a browser fails in many ways, and kaleido's exceptions follow it
        raise ValueError(
            f"images are drawn by Chrome, which could not be used ({type(error).__name__}): leave out --images, "
            "or install Chrome or Chromium (apt-get install chromium, or plotly_get_chrome)"
        ) from error
    return dict(zip([path for _, path in pictures], drawn, strict=True))


async def _draw(pictures: Sequence[tuple[Chart, Path]], name: str) -> list[bytes]:
    from kaleido import Kaleido

    drawn = []
    async with Kaleido(n=1, mathjax=False) as browser:  # Chrome would ask a CDN for MathJax
        for chart, path in pictures:
            kind, figure = path.suffix[1:], standing(chart, name)
            options: Any = {side: figure["layout"][side] for side in ("width", "height")}
            options |= {"format": kind, "scale": 2 if kind == "png" else 1}
            content = await browser.calc_fig(figure, opts=options)
            drawn.append(without_chance(content.decode()).encode() if kind == "svg" else content)
    return drawn


def standing(chart: Chart, name: str) -> dict[str, Any]:
    """Return the figure as one that stands alone: on white, and told what it is of."""
    layout = dict(chart.figure["layout"])
    told = ": ".join(part for part in (chart.title, shortened(chart.scheme), name) if part)
    layout["title"] = {"text": escaped(told), "x": 0.01, "y": 0.98, "yanchor": "top", "font": {"size": 15}}
    layout |= {"paper_bgcolor": "white", "plot_bgcolor": "white"}
    curves = not chart.scheme
    room = 44 if curves else 36
    layout["margin"] = layout["margin"] | {"t": room + 8, "b": layout["margin"]["b"] + (60 if curves else 0)}
    layout["height"] += room + (60 if curves else 0)
    layout["width"] = 800 if curves else 480
    layout["showlegend"] = curves
    layout["legend"] = {"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0}
    # Plotly would draw uids by lot, and no two files would be the same
    data = [{"uid": f"trace{number}", **trace} for number, trace in enumerate(chart.figure["data"])]
    return {"data": data, "layout": layout}
