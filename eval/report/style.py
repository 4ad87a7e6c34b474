"""Colours, dashes and markers that are told apart on white and on black paper, and by the colour-blind."""

from __future__ import annotations

from typing import Any

from rope_scaling.eval.compare import WINDOW
from rope_scaling.eval.report.record import Record

GREY = "#7F7F7F"
# each at least 3:1 on the page's light ground and on its dark one, so a chart needs no redrawing for the other
COLORS = ("#D55E00", "#0072B2", "#00916B", "#B65C94", "#8468D9", "#97722F")
DASHES = ("solid", "6px,3px", "2px,3px", "9px,3px,2px,3px", "12px,4px", "4px,2px", "8px,2px,2px,2px,2px,2px")
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "x")
FONT = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


def numbers(record: Record) -> dict[str, int]:
    """Return a number for each scheme of a record: the same look in every chart."""
    names = [row.scheme for row in record.rows] + [keys.scheme for keys in record.keys]
    names += [asked.scheme for task in record.tasks for asked in task.schemes]
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def line_style(scheme: str, number: int) -> dict[str, Any]:
    """Return a trace's line and marker; the counts share no divisor, so that no two of 210 schemes look the same."""
    if scheme == WINDOW:
        line = {"color": GREY, "width": 2.5, "dash": "10px,4px"}
        return {"line": line, "marker": {"symbol": "line-ew", "size": 6, "color": GREY}}
    color = COLORS[number % len(COLORS)]
    return {
        "line": {"color": color, "width": 2, "dash": DASHES[number % len(DASHES)]},
        "marker": {"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 6, "color": color},
    }


def faint(color: str) -> str:
    """Return the colour of a band around a line."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def layout(height: int, **own: Any) -> dict[str, Any]:
    """Return a Plotly layout; what the page's style sheet recolours for dark is plain here."""
    return {
        "width": 800,
        "height": height,
        "font": {"family": FONT, "size": 13, "color": "#1A1A1A"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"namelength": -1, "font": {"family": FONT}},
        "hovermode": "closest",
        "showlegend": False,
        **own,
    }


def axis(title: str, **own: Any) -> dict[str, Any]:
    """Return a Plotly axis."""
    return {
        "title": {"text": title, "standoff": 10},
        "showline": True,
        "linecolor": GREY,
        "ticks": "outside",
        "tickcolor": GREY,
        "gridcolor": "#E2E2E2",
        "zeroline": False,
        "automargin": True,
        **own,
    }
