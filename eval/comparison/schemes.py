"""Which scheme of one run is compared with which of another."""

from __future__ import annotations

import difflib

from rope_scaling.eval.compare import WINDOW
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.style import numbers


def matched(first: Record, second: Record, scheme_a: str | None, scheme_b: str | None) -> list[tuple[str, str]]:
    """Return the pairs to compare: those asked for, or every scheme that both runs have.

    Where one side is told, the other is the scheme of the same name, or the only one there.

    Raises:
        ValueError: A scheme is not in its run, or nothing says which belong together.
    """
    ours, theirs = list(numbers(first)), list(numbers(second))
    for scheme, known, side in ((scheme_a, ours, "A"), (scheme_b, theirs, "B")):
        if scheme is not None and scheme not in known:
            close = difflib.get_close_matches(scheme, known, n=1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"run {side} has no scheme {scheme!r}{hint} ({', '.join(known)})")
    if scheme_a is not None and scheme_b is not None:
        return [(scheme_a, scheme_b)]
    if scheme_a is not None:
        return [(scheme_a, _other(scheme_a, theirs, "b"))]
    if scheme_b is not None:
        return [(_other(scheme_b, ours, "a"), scheme_b)]
    both = [scheme for scheme in ours if scheme in theirs and scheme != WINDOW]
    if not both:
        raise ValueError(
            f"no scheme is in both runs (A: {', '.join(ours)}; B: {', '.join(theirs)}): "
            "say which to compare by --scheme-a and --scheme-b"
        )
    return [(scheme, scheme) for scheme in both]


def _other(scheme: str, known: list[str], side: str) -> str:
    if scheme in known:
        return scheme
    alone = [one for one in known if one != WINDOW]
    if len(alone) == 1:
        return alone[0]
    raise ValueError(f"run {side.upper()} has no scheme {scheme!r} but several others: say which by --scheme-{side}")
