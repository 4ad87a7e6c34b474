"""A picture of what `benchmarks/quality.py` has measured."""

from __future__ import annotations

from typing import Any

from quality_rows import Found, Key, Row, against, named, past, schemes_of, title_of

from rope_scaling.eval.intervals import wilson

BLUE, ORANGE, GREY = "#2a6fb0", "#c8641b", "#777777"
EDGE = 0.06
"""Nats per token past which a picture would show one scheme and no difference between the others."""


def draw(studies: dict[Key, Found]) -> dict[str, Any]:
    """A Plotly figure: for each study, nats against `window` on the left and questions past L on the right."""
    data: list[Row] = []
    layout: Row = {
        "width": 1000,
        "margin": {"l": 210, "r": 30, "t": 30, "b": 40},
        "font": {"family": "sans-serif", "size": 12},
        "paper_bgcolor": "white",
        "plot_bgcolor": "#f6f6f6",
        "showlegend": False,
        "annotations": [],
    }
    sizes = [90 + 22 * len(schemes_of(found)) for found in studies.values()]
    layout["height"] = 70 + sum(sizes)
    top = 1.0
    for (key, found), size in zip(studies.items(), sizes, strict=True):
        bottom = top - size / sum(sizes)
        span = (bottom + 30 / sum(sizes), top - 50 / sum(sizes))
        layout["annotations"].append(label(f"<b>{title_of(key)}</b>", 0, top - 28 / sum(sizes), 14))
        draw_study(found, span, data, layout)
        top = bottom
    return {"data": data, "layout": layout}


def draw_study(found: Found, span: tuple[float, float], data: list[Row], layout: Row) -> None:
    """One row of panels."""
    schemes = schemes_of(found)
    measures = ["perplexity", *dict.fromkeys(task for _, task in found if task != "perplexity")]
    share = 0.52 / max(len(measures) - 1, 1)
    for place, measure in enumerate(measures):
        axis = str(len(data) + 1)
        data.append(
            (nats(found) if place == 0 else shares(found, measure)) | {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
        )
        across = (0.0, 0.46) if place == 0 else (0.48 + (place - 1) * share, 0.46 + place * share)
        told = "nats per token past L, against window" if place == 0 else f"{measure}, past L"
        layout["annotations"].append(label(told, across[0], span[1], 12))
        layout[f"xaxis{axis}"] = {"domain": across, "anchor": f"y{axis}", "gridcolor": "white", "zerolinecolor": GREY}
        if place:
            layout[f"xaxis{axis}"] |= {"range": (-0.03, 1.03), "tickformat": ".0%"}
        layout[f"yaxis{axis}"] = {
            "domain": span,
            "anchor": f"x{axis}",
            "range": (len(schemes) - 0.5, -0.5),
            "tickvals": list(range(len(schemes))),
            "ticktext": [named(scheme) for scheme in schemes] if place == 0 else [""] * len(schemes),
            "gridcolor": "white",
            "zeroline": False,
        }


def nats(found: Found) -> Row:
    """Differences to `window` with their intervals; what is off by more than `EDGE` nats is left there."""
    schemes = schemes_of(found)
    known = {scheme: one for scheme in schemes if (one := against(found, scheme, "window")) is not None}
    inside = [one.mean <= EDGE for one in known.values()]
    return dots(
        [schemes.index(scheme) for scheme in known],
        [min(one.mean, EDGE) for one in known.values()],
        [(one.low, one.high) if near else (EDGE, EDGE) for one, near in zip(known.values(), inside, strict=True)],
        [BLUE if one.high < 0 else ORANGE if one.low > 0 else GREY for one in known.values()],
        ["" if near else f"{one.mean:+.2f} →" for one, near in zip(known.values(), inside, strict=True)],
    )


def shares(found: Found, task: str) -> Row:
    """Shares of right answers past L with Wilson's intervals."""
    schemes = schemes_of(found)
    rows = {
        scheme: past(found[scheme, task]).values() for scheme in schemes if "answers" in found.get((scheme, task), {})
    }
    ends = [wilson(sum(scores), len(scores)) for scores in rows.values()]
    means = [sum(scores) / len(scores) for scores in rows.values()]
    return dots([schemes.index(scheme) for scheme in rows], means, ends, [BLUE] * len(rows), [""] * len(rows))


def dots(
    places: list[int], means: list[float], ends: list[tuple[float, float]], colours: list[str], words: list[str]
) -> Row:
    """A dot for each scheme, with its interval."""
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": means,
        "y": places,
        "text": words,
        "textposition": "middle left",
        "marker": {"color": colours, "size": 8},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - mean for mean, (_, high) in zip(means, ends, strict=True)],
            "arrayminus": [mean - low for mean, (low, _) in zip(means, ends, strict=True)],
            "color": GREY,
            "thickness": 1.5,
            "width": 3,
        },
    }


def label(text: str, x: float, y: float, size: int) -> Row:
    place = {"xref": "paper", "yref": "paper", "x": x, "y": y, "xanchor": "left", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"size": size}, **place}
