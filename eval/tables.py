"""Results on the terminal: perplexity by position, and in plain words what each scheme bought."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rope_scaling.eval.bins import Bin, perplexity, short
from rope_scaling.eval.compare import WINDOW, Row
from rope_scaling.eval.verdict import RULE, Comparison

_PADDING = 3  # a blank on either side and a line
_STYLES = {"beats window": "green", "worse than window": "red"}


def print_results(console: Console, rows: Sequence[Row], ranges: Sequence[Bin], length: int, stride: int) -> None:
    """Print the perplexities, the verdicts and the rule they follow."""
    title = f"perplexity by position (trained length {short(length)}, best in bold)"
    for part in _fitting(ranges, rows, console.width):
        console.print(title, style="italic", highlight=False)
        console.print(_perplexities(rows, part))
    judged = [row for row in rows if row.tax is not None]
    if judged:
        console.print("what it costs and what it buys", style="italic")
        console.print(_verdicts(judged, length))
    for line in _words(rows, ranges, length, stride):
        console.print(line, highlight=False)


def _fitting(ranges: Sequence[Bin], rows: Sequence[Row], width: int) -> Iterator[Sequence[Bin]]:
    """Yield as many ranges at a time as fit beside the names."""
    names = min(max(len(row.name) for row in rows), 30) + _PADDING + 1
    part: list[Bin] = []
    for one in ranges:
        if part and names + sum(_width(each, rows) for each in (*part, one)) > width:
            yield part
            part = []
        part.append(one)
    yield part


def _width(part: Bin, rows: Sequence[Row]) -> int:
    """Return how many characters its column takes."""
    return max(len(part.label), *(len(_number(_perplexity(row, part))) for row in rows)) + _PADDING


def _perplexity(row: Row, part: Bin) -> float:
    return perplexity(row.nll, part.start, part.stop)


def _perplexities(rows: Sequence[Row], ranges: Sequence[Bin]) -> Table:
    table = Table()
    table.add_column("scheme", overflow="fold")
    values = [[_perplexity(row, part) for part in ranges] for row in rows]
    best = [min(column) for column in zip(*values, strict=True)]
    for part in ranges:
        table.add_column(part.label, justify="right", no_wrap=True)
    for row, line in zip(rows, values, strict=True):
        table.add_row(
            escape(row.name), *(_cell(value, value == least) for value, least in zip(line, best, strict=True))
        )
    return table


def _cell(value: float, best: bool) -> str:
    return f"[bold]{_number(value)}[/bold]" if best else _number(value)


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}" if value < 1e6 else f"{value:.1e}"


def _verdicts(rows: Sequence[Row], length: int) -> Table:
    table = Table()
    table.add_column("scheme", overflow="fold")
    table.add_column(f"within {short(length)}", justify="right")
    table.add_column(f"nats past {short(length)}", justify="right")
    table.add_column("z", justify="right")
    table.add_column("verdict")
    for row in rows:
        table.add_row(
            escape(row.name),
            f"{row.tax:+.1%}".replace("-0.0%", "+0.0%"),
            *_against(row.versus_window),
        )
    return table


def _against(versus: Comparison | None) -> tuple[str, str, str]:
    if versus is None:
        return "-", "-", "-"
    error = "" if versus.standard_error is None else f" ± {versus.standard_error:.3f}"
    style = _STYLES.get(versus.verdict, "yellow")
    return (
        f"{versus.mean_difference:+.3f}{error}",
        "-" if versus.z is None else f"{versus.z:+.1f}",
        f"[{style}]{versus.verdict}[/{style}]",
    )


def _words(rows: Sequence[Row], ranges: Sequence[Bin], length: int, stride: int) -> Iterator[str]:
    """Yield what the numbers mean."""
    tokens = ranges[-1].stop
    if any(row.name == WINDOW for row in rows):
        yield (
            f"window: the unscaled model that sees only the last {short(length)} tokens "
            f"(read anew every {stride} tokens, so at least {length - stride} of them)."
        )
    for row in rows:
        if row.max_length is not None and row.max_length < tokens:
            yield f"{escape(row.name)} is made for {short(row.max_length)} tokens, not for all of these."
    if tokens <= length:
        yield f"No verdict: no token stands past the trained length; ask for --lengths over {short(length)}."
        return
    if any(row.versus_window for row in rows):
        yield f"Rule: {RULE}. One text: a direction, not a law."
    for row in rows:
        if row.versus_window:
            yield _sentence(row, length)


def _sentence(row: Row, length: int) -> str:
    assert row.versus_window is not None
    name = escape(row.name)
    if row.versus_window.verdict == "beats window":
        return f"[green]{name}[/green]: predicts tokens past {short(length)} better than cutting the text does."
    if row.versus_window.verdict == "too few tokens to tell":
        return f"{name}: {row.versus_window.verdict}."
    how = {"worse than window": "worse than", "no better than window": "no better than"}[row.versus_window.verdict]
    bought = "" if row.max_length is None else " It has bought nothing in perplexity."  # `none` was not to
    return f"[yellow]{name}[/yellow]: {how} cutting the text to its last {short(length)} tokens.{bought}"
