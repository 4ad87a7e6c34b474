"""A figure laid out in pixels from the top down, as Plotly's JSON: panels, lines of text and legends."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 800
LEFT, RIGHT = 96, 16  # pixels beside the panels
FONT = "Arial, Helvetica, sans-serif"
INK, FAINT, GRID = "#000000", "#555555", "#E2E2E2"
LEGEND_ROOM = {3: 26, 2: 44, 1: 96}
"""Characters of a name in a legend of so many columns."""
_LEGEND_ROW = 20


class Sheet:
    """Collects parts at a growing distance from the top; `figure` turns pixels into Plotly's fractions.

    Attributes:
        data: Plotly's traces.
        cursor: Pixels from the top down to what comes next.
    """

    def __init__(self) -> None:
        self.data: list[dict[str, Any]] = []
        self.cursor = 14
        self._axes: list[tuple[int, int, dict[str, Any], dict[str, Any]]] = []
        self._texts: list[dict[str, Any]] = []
        self._legends: list[tuple[int, int]] = []
        self._marks: list[dict[str, Any]] = []

    def add(self, trace: Mapping[str, Any], axes: tuple[str, str]) -> None:
        """Put a trace into a panel."""
        number = len(self.data)  # a fixed uid: Plotly would draw one by lot, and no two files would be the same
        self.data.append({"uid": f"trace{number}", "xaxis": axes[0], "yaxis": axes[1], **trace})

    def paragraph(self, text: str, size: int, *, bold: bool = False, color: str = INK, left: int = 12) -> None:
        """Write lines from `left`, in pixels, to the right edge."""
        for line in textwrap.wrap(text, int((WIDTH - left - 12) / (size * 0.5))):
            shown = f"<b>{html.escape(line)}</b>" if bold else html.escape(line)
            self._texts.append(_text(shown, size, color) | {"x": left / WIDTH, "y": self.cursor})
            self.cursor += round(size * 1.35)

    def legend(self, entries: int, columns: int) -> str:
        """Make room for a legend and return its name."""
        self._legends.append((self.cursor, columns))
        self.cursor += _LEGEND_ROW * -(-entries // columns) + 8
        return _numbered("legend", len(self._legends))

    def panel(self, height: int, x: Mapping[str, Any], y: Mapping[str, Any], *, below: int) -> tuple[str, str]:
        """Make room for axes and for `below` pixels of tick labels and title; return the axes' names.

        `x` and `y` are Plotly's axes, with a `title` in plain text.
        """
        self._axes.append((self.cursor, height, dict(x), dict(y)))
        if y.get("title"):
            self.side(y["title"], self.cursor, self.cursor + height)
        self.cursor += height + below
        return _numbered("x", len(self._axes)), _numbered("y", len(self._axes))

    def mark(self, axes: tuple[str, str], **line: Any) -> None:
        """Draw a thin line across a panel, at `x` or at `y`, with a `label` placed by an annotation's keys."""
        label = line.pop("label", None)
        where = {"x0": line["x"], "x1": line["x"], "y0": 0, "y1": 1} if "x" in line else {}
        where = where or {"x0": 0, "x1": 1, "y0": line["y"], "y1": line["y"]}
        refs = {
            "xref": axes[0] if "x" in line else f"{axes[0]} domain",
            "yref": axes[1] if "y" in line else f"{axes[1]} domain",
        }
        dash = {"color": FAINT, "width": 1.2, "dash": line["dash"]}
        self._marks.append({"type": "line", "layer": "below", "line": dash, **where, **refs})
        if label is not None:
            self._texts.append(_text(html.escape(label), 12, INK) | refs | line["at"] | {"bgcolor": "white"})

    def side(self, text: str, top: int, bottom: int) -> None:
        """Write upwards along the left edge, in the middle between two heights."""
        turned = {"textangle": -90, "xanchor": "center", "yanchor": "middle"}
        middle = (top + bottom) / 2
        self._texts.append(_text(html.escape(text), 13, INK) | turned | {"x": 20 / WIDTH, "y": middle})

    def figure(self) -> dict[str, Any]:
        """Return Plotly's figure."""
        height = self.cursor + 6
        layout: dict[str, Any] = {
            "width": WIDTH,
            "height": height,
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
            "autosize": False,
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "font": {"family": FONT, "size": 13, "color": INK},
            "bargap": 0,
            "barmode": "overlay",
            "hoverlabel": {"namelength": -1},
            "shapes": self._marks,
            "annotations": [_placed(text, height) for text in self._texts],
        }
        for number, (top, tall, x, y) in enumerate(self._axes, 1):
            names = _numbered("x", number), _numbered("y", number)
            layout[_numbered("xaxis", number)] = _axis(names[1], x, (LEFT / WIDTH, 1 - RIGHT / WIDTH))
            y["title"] = ""  # stands at the edge already, clear of wide tick labels
            layout[_numbered("yaxis", number)] = _axis(names[0], y, (1 - (top + tall) / height, 1 - top / height))
        for number, (top, columns) in enumerate(self._legends, 1):
            layout[_numbered("legend", number)] = _legend(1 - top / height, columns)
        return {"data": self.data, "layout": layout}


def shortened(name: str) -> str:
    """A list of divisors is no name to read: what the widest legend has no room for is cut."""
    room = LEGEND_ROOM[1]
    return name if len(name) <= room else f"{name[: room - 1]}…"


def _numbered(name: str, number: int) -> str:
    """Plotly's own way of counting: x, x2, x3, ..."""
    return name if number == 1 else f"{name}{number}"


def _text(text: str, size: int, color: str) -> dict[str, Any]:
    return {
        "text": text,
        "font": {"size": size, "color": color},
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "top",
        "align": "left",
    }


def _placed(text: dict[str, Any], height: int) -> dict[str, Any]:
    """A text whose `y` is in pixels from the top moves to Plotly's fraction from the bottom."""
    return text | {"y": 1 - text["y"] / height} if text["yref"] == "paper" else text


def _axis(anchor: str, options: Mapping[str, Any], domain: tuple[float, float]) -> dict[str, Any]:
    title = {"text": options.get("title", ""), "font": {"size": 13}, "standoff": 8}
    own = {
        "anchor": anchor,
        "domain": domain,
        "showline": True,
        "linecolor": INK,
        "mirror": True,
        "ticks": "outside",
        "ticklen": 4,
        "gridcolor": GRID,
        "zeroline": False,
    }
    return own | dict(options) | {"title": title}


def _legend(top: float, columns: int) -> dict[str, Any]:
    return {
        "orientation": "h",
        "x": 8 / WIDTH,
        "y": top,
        "xanchor": "left",
        "yanchor": "top",
        "entrywidthmode": "pixels",
        "entrywidth": (WIDTH - 30) // columns - 66,
        "itemwidth": 46,
        "tracegroupgap": 0,
        "font": {"size": 13},
        "bgcolor": "rgba(0,0,0,0)",
    }
