"""The table and the picture of what `benchmarks/quality.py` has measured.

python benchmarks/quality_report.py quality.jsonl --markdown quality.md --picture docs/pictures/quality
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rope_scaling.eval.bins import short
from rope_scaling.eval.images import write_figure
from rope_scaling.eval.intervals import wilson
from rope_scaling.eval.stats import PairedDifference, paired_answers, paired_blocks

Row = dict[str, Any]
Found = dict[tuple[str, str], Row]
"""Rows by scheme and measure."""

BLUE, ORANGE, GREY = "#2a6fb0", "#c8641b", "#777777"
EDGE = 0.06
"""Nats per token past which a picture would show one scheme and no difference between the others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--against", default="yarn", help="the scheme that answers to questions are compared with")
    parser.add_argument("--tasks", help="which to show; all unless given")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--picture", type=Path, help="written as .svg and .png")
    args = parser.parse_args()
    rows = [json.loads(line) for path in args.runs for line in path.read_text("utf-8").splitlines()]
    shown = {"perplexity", *args.tasks.split(",")} if args.tasks else {row["measure"] for row in rows}
    studies = studies_of([row for row in rows if row["measure"] in shown])
    text = "\n\n".join(table(title, found, args.against) for title, found in studies.items())
    print(text)
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    for kind in (".svg", ".png") if args.picture else ():
        write_figure(draw(studies), args.picture.with_suffix(kind), title="What each scheme is worth", force=True)


def studies_of(rows: Sequence[Row]) -> dict[str, Found]:
    """Rows by checkpoint and factor; the last of several about the same."""
    studies: dict[str, Found] = {}
    for row in rows:
        title = f"{row['checkpoint']}, trained to {short(row['length'])}, factor {row['factor']:g}"
        studies.setdefault(title, {})[row["scheme"], row["measure"]] = row
    return studies


def table(title: str, found: Found, against: str) -> str:
    """One study as Markdown: a row a scheme."""
    schemes = list(dict.fromkeys(scheme for scheme, _ in found))
    tasks = list(dict.fromkeys(task for _, task in found if task != "perplexity"))
    ranges = next(list(row["perplexity"]) for row in found.values() if "perplexity" in row)
    lengths = {task: next((lengths_of(row) for (_, name), row in found.items() if name == task), []) for task in tasks}
    head = ["scheme", *ranges, "nats past L against `window`"]
    for task in tasks:
        head += [f"`{task}` at {', '.join(map(short, lengths[task]))}", f"past L against `{against}`"]
    lines = [f"**{title}**", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for scheme in schemes:
        cells = [f"`{scheme}`", *perplexities(found, scheme, ranges)]
        for task in tasks:
            cells += answered(found, scheme, task, against)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def perplexities(found: Found, scheme: str, ranges: Sequence[str]) -> list[str]:
    row = found.get((scheme, "perplexity"), {})
    if "refused" in row:
        return ["refused", *[""] * len(ranges)]
    if not row:
        return [""] * (len(ranges) + 1)
    difference = against_window(found, scheme)
    return [*(f"{row['perplexity'][name]:.2f}" for name in ranges), "" if difference is None else signed(difference, 3)]


def answered(found: Found, scheme: str, task: str, against: str) -> list[str]:
    row, other = found.get((scheme, task), {}), found.get((against, task), {})
    if "answers" not in row:
        return ["", ""]
    cells = []
    for length in lengths_of(row):
        scores = [score for at, _, score in row["answers"] if at == length]
        cells.append(f"{100 * sum(scores) / len(scores):.0f}")
    if scheme == against or "answers" not in other:
        return [" · ".join(cells) + " %", ""]
    return [" · ".join(cells) + " %", signed(paired_answers(past(row), past(other)), 2)]


def against_window(found: Found, scheme: str) -> PairedDifference | None:
    """The difference in nats per token past L, by pairs of blocks of 64 tokens; None for `window` itself."""
    row, window = found.get((scheme, "perplexity"), {}), found.get(("window", "perplexity"), {})
    if scheme == "window" or "blocks" not in row or "blocks" not in window:
        return None
    return paired_blocks(torch.tensor(row["blocks"]), torch.tensor(window["blocks"]))


def lengths_of(row: Row) -> list[int]:
    return sorted({length for length, _, _ in row.get("answers", [])}) or row["lengths"]


def past(row: Row) -> list[float]:
    """The scores of the questions that are longer than L."""
    return [score for length, _, score in row["answers"] if length > row["length"]]


def signed(difference: PairedDifference, digits: int) -> str:
    """A difference with the ends of its 95 % interval, bold where that does not hold 0."""
    told = f"{difference.mean:+.{digits}f} [{difference.low:+.{digits}f}, {difference.high:+.{digits}f}]"
    return f"**{told}**" if difference.low > 0 or difference.high < 0 else told


def draw(studies: dict[str, Found]) -> dict[str, Any]:
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
    for (title, found), size in zip(studies.items(), sizes, strict=True):
        bottom = top - size / sum(sizes)
        span = (bottom + 30 / sum(sizes), top - 50 / sum(sizes))
        layout["annotations"].append(label(f"<b>{title}</b>", 0, top - 28 / sum(sizes), 14))
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
            "ticktext": schemes if place == 0 else [""] * len(schemes),
            "gridcolor": "white",
            "zeroline": False,
        }


def schemes_of(found: Found) -> list[str]:
    return list(dict.fromkeys(scheme for (scheme, _), row in found.items() if "refused" not in row))


def label(text: str, x: float, y: float, size: int) -> Row:
    place = {"xref": "paper", "yref": "paper", "x": x, "y": y, "xanchor": "left", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"size": size}, **place}


def nats(found: Found) -> Row:
    """Differences to `window` with their intervals; what is off by more than `EDGE` nats is left there."""
    schemes = schemes_of(found)
    known = {scheme: one for scheme in schemes if (one := against_window(found, scheme)) is not None}
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
    rows = {scheme: past(found[scheme, task]) for scheme in schemes if "answers" in found.get((scheme, task), {})}
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


if __name__ == "__main__":
    main()
