"""Tables, in Markdown, of what `benchmarks/quality.py` has measured."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from quality_rows import Found, Key, against, named, past, schemes_of

from rope_scaling.eval.bins import bins, short
from rope_scaling.eval.stats import PairedDifference, paired_answers


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


def perplexities(found: Found, scheme: str, ranges: Sequence[str], other: str) -> list[str]:
    row = found[scheme, "perplexity"]
    if "refused" in row:
        return ["refused", *[""] * (len(ranges) + 1)]
    differences = [against(found, scheme, one) for one in ("window", other)]
    told = ["" if one is None else signed(one, 3) for one in differences]
    return [*(f"{row['perplexity'][name]:.2f}" for name in ranges), *told]


def of_tasks(found: Found, other: str) -> tuple[list[str], list[list[str]]]:
    """Right answers by length, and the differences of their shares past L."""
    asked = {what: row for what, row in found.items() if "answers" in row}
    lengths: dict[str, set[int]] = {}
    for (_, name), row in asked.items():
        lengths.setdefault(name, set()).update(length for length, _, _ in row["answers"])
    head = ["scheme"]
    for name, of_name in lengths.items():
        head += [f"`{name}` at {', '.join(map(short, sorted(of_name)))}", f"past L against `{other}`"]
    rows = []
    for scheme in dict.fromkeys(scheme for scheme, _ in asked):
        parts = [answered(found, scheme, name, other, sorted(of_name)) for name, of_name in lengths.items()]
        rows.append([f"`{scheme}`", *itertools.chain(*parts)])
    return head, rows


def answered(found: Found, scheme: str, task: str, base: str, lengths: Sequence[int]) -> list[str]:
    row, other = found.get((scheme, task), {}), found.get((base, task), {})
    if "answers" not in row:
        return ["", ""]
    cells = []
    for length in lengths:
        scores = [score for at, _, score in row["answers"] if at == length]
        cells.append(f"{sum(scores):g}/{len(scores)}" if scores else "–")
    ours, theirs = past(row), past(other)
    both = [asked for asked in ours if asked in theirs]
    if scheme == base or not both:
        return [" · ".join(cells), ""]
    difference = paired_answers([ours[asked] for asked in both], [theirs[asked] for asked in both])
    return [" · ".join(cells), signed(difference, 2)]


def signed(difference: PairedDifference, digits: int) -> str:
    """A difference with the ends of its 95 % interval, bold where that does not hold 0."""
    mean, low, high = (f"{one:+.{digits}f}" for one in (difference.mean, difference.low, difference.high))
    told = f"{mean} [{low}, {high}]".replace("-", "−")
    return f"**{told}**" if difference.low > 0 or difference.high < 0 else told
