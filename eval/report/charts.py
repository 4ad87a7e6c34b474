"""Perplexity by position, and its difference from `window`, as Plotly figures in plain values."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rope_scaling.eval.bins import short
from rope_scaling.eval.compare import WINDOW
from rope_scaling.eval.report.blocks import Point, curve
from rope_scaling.eval.report.findings import baseline
from rope_scaling.eval.report.record import Record, Row
from rope_scaling.eval.report.style import GREY, axis, faint, layout, line_style
from rope_scaling.eval.sheet import shortened

_WIDEST = 0.15
"""Nats a token from `window`: what lies beyond is broken or much better, and would flatten all else in the picture."""
_NARROWEST = 0.02


@dataclass(frozen=True)
class Chart:
    """A picture.

    Attributes:
        name: of its files.
        title: what it shows.
        note: how to read it; like the scheme, text that nobody has escaped.
        figure: Plotly's, in which all foreign text is escaped.
        scheme: the one that it is about, if it is about one.
    """

    name: str
    title: str
    note: str
    figure: dict[str, Any]
    scheme: str = ""


def escaped(text: str) -> str:
    """Return text that Plotly, which reads some HTML, shows as it is."""
    return html.escape(text, quote=False)


def curve_charts(record: Record) -> tuple[Chart, ...]:
    """Return what can be drawn of the text that was read."""
    if not record.rows:
        return ()
    charts = [_perplexity(record)]
    window = baseline(record)
    if window is not None and len(record.rows) > 1:
        charts.append(_against(record, window))
    return tuple(charts)


def _perplexity(record: Record) -> Chart:
    traces = []
    for number, row in enumerate(record.rows):
        points = curve(record, row)
        traces += _line(row, number, points, math.exp, "perplexity %{y:.4~g}")
    y = axis("perplexity", type="log", dtick="D2", tickformat=",~g")
    note = (
        f"Each point is the mean over {_step(record)}; bands hold the true mean in 95 of 100 cases. Bands of two "
        "schemes overlap although one is surely better: they rise and fall with the text. The next picture compares "
        "on the same tokens."
    )
    return Chart("perplexity", "Perplexity by position", note, _figure(record, traces, y))


def _against(record: Record, window: Row) -> Chart:
    traces, worst = [], {}
    for number, row in enumerate(record.rows):
        if row is window:
            continue
        points = curve(record, row, minus=window)
        traces += _line(row, number, points, float, "%{y:+.3f} nats a token against window")
        ends = [end for point in points for end in (point.low, point.high) if end is not None]
        worst[row.scheme] = max(abs(point.mean) for point in points), *map(abs, ends)
    limit = 1.1 * min(max(_NARROWEST, *(max(sizes) for sizes in worst.values())), _WIDEST)
    gone = [scheme for scheme, (mean, *_) in worst.items() if mean > limit]
    y = axis("nats a token, minus window’s", range=[-limit, limit], tickformat="+.3~g")
    leaves = f" These leave the picture: {', '.join(gone)}." if gone else ""
    note = (
        "Differences on the same tokens, with 95% bands: below the line, a scheme predicts better than the unpatched "
        f"model that sees the last {short(record.length)} tokens only; above it, worse. Left of L the line is the "
        f"unpatched model, so what lies above it there is the tax on short texts.{leaves}"
    )
    figure = _figure(record, traces, y)
    figure["layout"]["shapes"].append(rule("y", 0, "10px,4px", 2.5))
    return Chart("against-window", "Against simply cutting the text", note, figure)


def _line(
    row: Row, number: int, points: Sequence[Point], shown: Callable[[float], float], hover: str
) -> list[dict[str, Any]]:
    """Return a band and the line on it; `meta` is the scheme's number, by which the page switches both."""
    style = line_style(row.scheme, number)
    x = [(point.start + point.stop) / 2 for point in points]
    line = {
        "type": "scatter",
        "mode": "lines+markers" if len(points) <= 40 and row.scheme != WINDOW else "lines",
        "name": escaped(shortened(row.scheme)),
        "meta": number,
        "legendgroup": str(number),
        "x": x,
        "y": [rounded(shown(point.mean)) for point in points],
        "customdata": [[point.start, point.stop] for point in points],
        "hovertemplate": f"tokens %{{customdata[0]}}-%{{customdata[1]}}: {hover}<extra>%{{fullData.name}}</extra>",
        **style,
    }
    ends = [(at, point.low, point.high) for at, point in zip(x, points, strict=True)]
    known = [(at, low, high) for at, low, high in ends if low is not None and high is not None]
    if not known:
        return [line]
    band = {
        "type": "scatter",
        "mode": "lines",
        "name": escaped(shortened(row.scheme)),
        "meta": number,
        "legendgroup": str(number),
        "showlegend": False,
        "x": [at for at, _, _ in known] + [at for at, _, _ in reversed(known)],
        "y": [rounded(shown(low)) for _, low, _ in known] + [rounded(shown(high)) for _, _, high in reversed(known)],
        "fill": "toself",
        "fillcolor": faint(style["line"]["color"]),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
    return [band, line]


def rounded(value: float) -> float:
    """Return a number with the digits that a picture shows."""
    return float(f"{value:.6g}")


def _figure(record: Record, traces: list[dict[str, Any]], y: dict[str, Any]) -> dict[str, Any]:
    last = record.rows[0].ranges[-1].stop
    step = 2 ** max(math.ceil(math.log2(last / 8)), 0)  # about eight ticks, at the lengths that people say
    ticks = list(range(0, last + 1, step))
    x = axis("position in the text (tokens, k = 1024)", range=[0, last], tickvals=ticks, ticktext=[*map(short, ticks)])
    drawn = layout(400, xaxis=x, yaxis=y, margin={"l": 60, "r": 16, "t": 24, "b": 50}, shapes=[])
    if record.length <= last:
        drawn["shapes"].append(rule("x", record.length, "solid", 1.2))
        label = {"text": f"L = {short(record.length)}", "x": record.length, "y": 1, "yref": "paper"}
        drawn["annotations"] = [label | {"showarrow": False, "yanchor": "bottom"}]
    return {"data": traces, "layout": drawn}


def rule(axis_name: str, at: float, dash: str, width: float) -> dict[str, Any]:
    """Return a line across the picture."""
    other = "y" if axis_name == "x" else "x"
    return {
        "type": "line",
        "layer": "below",
        "line": {"color": GREY, "width": width, "dash": dash},
        f"{axis_name}0": at,
        f"{axis_name}1": at,
        f"{other}0": 0,
        f"{other}1": 1,
        f"{other}ref": "paper",
    }


def _step(record: Record) -> str:
    points = curve(record, record.rows[0])
    tokens = max(point.stop - point.start for point in points)
    texts = len(record.rows[0].block_nll)
    return f"{tokens:,} tokens" + (f" of each of {texts} texts" if texts > 1 else "")
