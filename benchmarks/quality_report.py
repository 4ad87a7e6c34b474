"""The table and the picture of what `benchmarks/quality.py` has measured.

python benchmarks/quality_report.py quality.jsonl --markdown quality.md --summary summary.md \
    --picture docs/pictures/quality
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rope_scaling.eval.bins import bins, short
from rope_scaling.eval.images import write_figure
from rope_scaling.eval.intervals import wilson
from rope_scaling.eval.stats import PairedDifference, paired_answers, paired_blocks

Row = dict[str, Any]
Key = tuple[str, int, float]
"""A checkpoint, its trained length and the factor."""
Found = dict[tuple[str, str], Row]
"""Rows by scheme and measure."""

ORDER = (
    *("window", "none", "linear", "ntk", "yarn", "dynamic-yarn"),
    *("self-extend", "leaky-rerope", "rerope", "dca", "lampe", "string", "string over yarn"),
)
BLUE, ORANGE, GREY = "#2a6fb0", "#c8641b", "#777777"
EDGE = 0.06
"""Nats per token past which a picture would show one scheme and no difference between the others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--against", default="yarn", help="the scheme that answers to questions are compared with")
    parser.add_argument("--tasks", help="which to show; all unless given")
    parser.add_argument("--markdown", type=Path, help="where to write a table for each checkpoint and factor")
    parser.add_argument("--summary", type=Path, help="where to write one table of all, a row a scheme")
    parser.add_argument("--picture", type=Path, help="written as .svg and .png")
    args = parser.parse_args()
    rows = [json.loads(line) for path in args.runs for line in path.read_text("utf-8").splitlines()]
    shown = {"perplexity", *args.tasks.split(",")} if args.tasks else {row["measure"] for row in rows}
    studies = studies_of([row for row in rows if row["measure"] in shown])
    text = "\n\n".join(tables(title_of(key), found, args.against) for key, found in studies.items())
    print(text)
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    studies = {key: found for key, found in studies.items() if any(measure == "perplexity" for _, measure in found)}
    if args.summary:
        args.summary.write_text(summary(studies) + "\n", encoding="utf-8")
    for kind in (".svg", ".png") if args.picture else ():
        write_figure(draw(studies), args.picture.with_suffix(kind), title="What each scheme is worth", force=True)


def studies_of(rows: Sequence[Row]) -> dict[Key, Found]:
    """Rows by checkpoint and factor, schemes in their usual order; the last of several about the same.

    Answers to questions of other lengths and depths are put together: each stands for itself.
    """
    studies: dict[Key, Found] = {}
    for row in sorted(rows, key=lambda row: rank(row["scheme"])):
        found = studies.setdefault((row["checkpoint"], row["length"], row["factor"]), {})
        what = row["scheme"], row["measure"]
        found[what] = row | {"answers": joined(found[what], row)} if what in found and "answers" in row else row
    return dict(sorted(studies.items(), key=lambda study: study[0][1:]))


def joined(earlier: Row, row: Row) -> list[list[float]]:
    """The answers of a row, and those of an earlier one at lengths and depths that this one has not asked."""
    asked = {(length, depth) for length, depth, _ in row["answers"]}
    return row["answers"] + [one for one in earlier.get("answers", []) if tuple(one[:2]) not in asked]


def rank(scheme: str) -> int:
    """Where a scheme stands in tables."""
    return ORDER.index(named(scheme)) if named(scheme) in ORDER else len(ORDER)


def named(scheme: str) -> str:
    """A scheme without the numbers that differ by factor: string:over="yarn:factor=2.5" is string over yarn."""
    return re.sub(r':over="?(\w+):factor=[^"]*"?', r" over \1", scheme)


def title_of(key: Key) -> str:
    checkpoint, length, factor = key
    return f"{checkpoint}, L = {short(length)}, factor {factor:g}"


def summary(studies: dict[Key, Found]) -> str:
    """All studies as one Markdown table: for each checkpoint what is past L and what within, a line a factor."""
    checkpoints: dict[str, list[Key]] = {}
    for key in studies:
        checkpoints.setdefault(f"`{key[0]}`, L = {short(key[1])}", []).append(key)
    head = ["scheme"]
    for name, keys in checkpoints.items():
        factors = ", ".join(f"×{factor:g}" for _, _, factor in keys)
        head += [f"{name}, {factors}: nats past L against `window`", "passkeys past L", "perplexity within L"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in dict.fromkeys(named(scheme) for found in studies.values() for scheme in schemes_of(found)):
        cells = [f"`{name}`".replace(" over ", "` over `")]
        for keys in checkpoints.values():
            of_name = [short_row(studies[key], key[1], name) for key in keys]
            cells += ["<br>".join(one) for one in zip(*of_name, strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def short_row(found: Found, length: int, name: str) -> tuple[str, str, str]:
    """Of one scheme: nats past L against `window`, passkeys found past L, and what perplexity within L costs."""
    scheme = next((one for one in schemes_of(found) if named(one) == name), "")
    difference = against(found, scheme, "window")
    asked = past(found.get((scheme, "rope_passkey"), {})).values()
    return (
        "–" if difference is None else signed(difference, 3),
        f"{sum(asked):g} of {len(asked)}" if asked else "–",
        tax(found, scheme, length),
    )


def tax(found: Found, scheme: str, length: int) -> str:
    """By how much perplexity within L is above that of the unpatched model."""
    own, plain = found.get((scheme, "perplexity")), found.get(("none", "perplexity"))
    if own is None or plain is None:
        return "–"
    pairs = zip(bins(tuple(plain["edges"])), own["perplexity"].values(), plain["perplexity"].values(), strict=True)
    more = [(part.stop - part.start) * math.log(one / other) for part, one, other in pairs if part.stop <= length]
    percent = f"{100 * math.expm1(sum(more) / length):+.1f} %"
    return "0" if percent.strip("+-") == "0.0 %" else percent.replace("-", "−")


def tables(title: str, found: Found, other: str) -> str:
    """One study as Markdown: perplexity, then tasks, each with a row a scheme."""
    made = [table(*part) for part in (of_perplexity(found, other), of_tasks(found, other)) if len(part[0]) > 1]
    return "\n\n".join([f"**{title}**", *made])


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def of_perplexity(found: Found, other: str) -> tuple[list[str], list[list[str]]]:
    """By position, and the differences past L."""
    ranges = next((list(row["perplexity"]) for row in found.values() if "perplexity" in row), [])
    schemes = [scheme for scheme, measure in found if measure == "perplexity"]
    head = ["scheme", *ranges, *(["nats past L against `window`", f"against `{other}`"] if ranges else [])]
    return head, [[f"`{scheme}`", *perplexities(found, scheme, ranges, other)] for scheme in schemes]


def of_tasks(found: Found, other: str) -> tuple[list[str], list[list[str]]]:
    """Right answers by length, and the differences of their shares past L."""
    asked = {what: row for what, row in found.items() if "answers" in row}
    lengths: dict[str, set[int]] = {}
    for (_, name), row in asked.items():
        lengths.setdefault(name, set()).update(lengths_of(row))
    head = ["scheme"]
    for name, of_name in lengths.items():
        head += [f"`{name}` at {', '.join(map(short, sorted(of_name)))}", f"past L against `{other}`"]
    rows = []
    for scheme in dict.fromkeys(scheme for scheme, _ in asked):
        parts = [answered(found, scheme, name, other, sorted(of_name)) for name, of_name in lengths.items()]
        rows.append([f"`{scheme}`", *itertools.chain(*parts)])
    return head, rows


def perplexities(found: Found, scheme: str, ranges: Sequence[str], other: str) -> list[str]:
    row = found.get((scheme, "perplexity"), {})
    if "refused" in row:
        return ["refused", *[""] * (len(ranges) + 1)]
    if not row:
        return [""] * (len(ranges) + 2)
    differences = [against(found, scheme, one) for one in ("window", other)]
    told = ["" if one is None else signed(one, 3) for one in differences]
    return [*(f"{row['perplexity'][name]:.2f}" for name in ranges), *told]


def answered(found: Found, scheme: str, task: str, against: str, lengths: Sequence[int]) -> list[str]:
    row, other = found.get((scheme, task), {}), found.get((against, task), {})
    if "answers" not in row:
        return ["", ""]
    cells = []
    for length in lengths:
        scores = [score for at, _, score in row["answers"] if at == length]
        cells.append(f"{sum(scores):g}/{len(scores)}" if scores else "–")
    ours, theirs = past(row), past(other)
    both = [asked for asked in ours if asked in theirs]
    if scheme == against or not both:
        return [" · ".join(cells), ""]
    difference = paired_answers([ours[asked] for asked in both], [theirs[asked] for asked in both])
    return [" · ".join(cells), signed(difference, 2)]


def against(found: Found, scheme: str, other: str) -> PairedDifference | None:
    """The difference in nats per token past L, by pairs of blocks of 64 tokens; None where there is nothing to pair."""
    row, base = found.get((scheme, "perplexity"), {}), found.get((other, "perplexity"), {})
    if scheme == other or "blocks" not in row or "blocks" not in base:
        return None
    return paired_blocks(torch.tensor(row["blocks"]), torch.tensor(base["blocks"]))


def lengths_of(row: Row) -> list[int]:
    return sorted({length for length, _, _ in row.get("answers", [])}) or row["lengths"]


def past(row: Row) -> dict[tuple[int, float, int], float]:
    """The scores of the questions that are longer than L, by length, depth and number."""
    numbers: Counter[tuple[int, float]] = Counter()
    scores: dict[tuple[int, float, int], float] = {}
    for length, depth, score in row.get("answers", []):
        numbers[length, depth] += 1
        if length > row["length"]:
            scores[length, depth, numbers[length, depth]] = score
    return scores


def signed(difference: PairedDifference, digits: int) -> str:
    """A difference with the ends of its 95 % interval, bold where that does not hold 0."""
    told = f"{difference.mean:+.{digits}f} [{difference.low:+.{digits}f}, {difference.high:+.{digits}f}]".replace(
        "-", "−"
    )
    return f"**{told}**" if difference.low > 0 or difference.high < 0 else told


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


def schemes_of(found: Found) -> list[str]:
    return list(dict.fromkeys(scheme for (scheme, _), row in found.items() if "refused" not in row))


def label(text: str, x: float, y: float, size: int) -> Row:
    place = {"xref": "paper", "yref": "paper", "x": x, "y": y, "xanchor": "left", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"size": size}, **place}


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


if __name__ == "__main__":
    main()
