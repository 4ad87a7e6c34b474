"""The doctor's page on the terminal: right without colours, and at 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rope_scaling.doctor.facts import Facts
from rope_scaling.doctor.finding import Finding, Severity
from rope_scaling.doctor.forecast import Forecast
from rope_scaling.doctor.picture import BLOCKS, DOTS, bars
from rope_scaling.doctor.summary import advice, forecasts, layer_rows, readable_ropes, record_line, rows, start_of
from rope_scaling.rope import Rope

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}


def print_page(console: Console, facts: Facts, findings: Sequence[Finding]) -> None:
    """Print what the RoPE is, its picture, what each scheme would do, and what is wrong."""
    ropes = readable_ropes(facts)
    if ropes:
        _print_ropes(console, facts, ropes)
    for kind, rope in ropes.items():
        _print_picture(console, rope, kind)
    for kind, rope in ropes.items():
        _print_forecasts(console, facts, rope, kind)
    best = advice(facts)
    if best is not None:
        _say(console, best)
        console.print()
    for finding in findings:
        _print_finding(console, finding)
    _say(console, _verdict(findings))


def _print_ropes(console: Console, facts: Facts, ropes: dict[str | None, Rope]) -> None:
    table = Table(title=f"RoPE of {_told(facts.model_type)}", title_justify="left", title_style="italic")
    table.add_column("")
    for kind in ropes:
        table.add_column(_told(kind or "all layers"), overflow="fold")
    columns = [rows(facts, rope) for rope in ropes.values()]
    for name in columns[0]:
        table.add_row(name, *(_told(column[name]) for column in columns))
    console.print(table)
    for name, told in layer_rows(facts).items():
        _say(console, f"{name}: {told}")
    record = record_line(facts)
    if record is not None:
        _say(console, record)


def _print_picture(console: Console, rope: Rope, kind: str | None) -> None:
    plain = (console.encoding or "").lower().replace("-", "") not in ("utf8", "utf16", "utf32")
    drawn, below, told = bars(rope, console.width - 4, DOTS if plain else BLOCKS)
    of = "" if kind is None else f" of {kind}"
    _say(console, f"wavelength of each pair{of}, from {rope.wavelengths[0]:.3g} tokens a turn, logarithmic:")
    for line in (drawn, below):
        _say(console, f"  {line}")
    _say(console, f"  {told}")
    console.print()


def _print_forecasts(console: Console, facts: Facts, rope: Rope, kind: str | None) -> None:
    made = forecasts(facts, rope)
    if not made:
        if facts.wished is not None:
            _say(console, f"{facts.wished} tokens are within {start_of(facts, rope).original_max_position_embeddings}.")
        return
    start = start_of(facts, rope).original_max_position_embeddings
    title = f"at {facts.wished} tokens, {facts.wished / start:.3g} times {start}"  # type: ignore[operator]
    table = Table(title=title + (f" ({_told(kind)})" if kind else ""), title_justify="left", title_style="italic")
    for name in ("scheme", "slowed by", "attention", "kept", "divided", "new angles", "up to"):
        table.add_column(name, justify="left" if name == "scheme" else "right", no_wrap=name != "new angles")
    for one in made:
        table.add_row(*_cells(one))
    console.print(table)
    _say(
        console,
        "slowed by: trained / new frequency. kept, divided: pairs at their trained frequency, and at 1/factor of it or "
        "less. new angles: pairs that never made a whole turn and would see angles they never saw, and how far past.",
    )
    console.print()


def _cells(one: Forecast) -> tuple[str, ...]:
    least, most = one.slowed
    return (
        one.scheme,
        f"{least:.3g}-{most:.3g}" if most > least * (1 + 1e-6) else f"{most:.3g}",
        f"{one.attention_factor:.4g}",
        str(one.kept),
        str(one.interpolated),
        "none" if one.extrapolated is None else f"{one.extrapolated[0]}-{one.extrapolated[1]}",
        "" if one.extrapolated is None else f"{one.overshoot:.3g}×",
    )


def _print_finding(console: Console, finding: Finding) -> None:
    symptom = finding.symptom
    head = Text.assemble(
        (finding.severity.value, _STYLES[finding.severity]), _clean(f" {finding.code}: {symptom.seen}")
    )
    console.print(head, highlight=False, soft_wrap=False)
    told = [symptom.consequence, *(f"{engine}: {what}" for engine, what in symptom.engines.items())]
    for line in (*told, f"mend: {symptom.mend}"):
        console.print(Padding(Text(_clean(line)), (0, 0, 0, 2)), highlight=False)
    console.print()


def _verdict(findings: Sequence[Finding]) -> str:
    counts = {one: sum(each.severity is one for each in findings) for one in reversed(Severity)}
    told = [f"{count} {one.value}{'s' if count > 1 else ''}" for one, count in counts.items() if count]
    return f"found: {', '.join(told)}" if told else "found: nothing wrong"


def _say(console: Console, line: str) -> None:
    console.print(_clean(line), highlight=False, markup=False)


def _told(text: str) -> str:
    """The same where Rich reads its markup."""
    return escape(_clean(text))


def _clean(text: str) -> str:
    """A text out of somebody's file without what a terminal would obey instead of show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
