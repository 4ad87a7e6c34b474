"""`rope-scaling compare`: two runs, question by question."""

from pathlib import Path
from typing import Annotated

import typer

from rope_scaling.commands.errors import plain_errors


def compare(
    run_a: Annotated[Path, typer.Argument(help="What `rope-scaling eval -o` wrote: a file or a folder.")],
    run_b: Annotated[Path, typer.Argument(help="Another run of the same questions and texts, judged against it.")],
    scheme_a: Annotated[
        str | None, typer.Option(help="Of run A; every scheme that both runs have unless given.")
    ] = None,
    scheme_b: Annotated[str | None, typer.Option(help="Of run B.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object instead.")] = False,
) -> None:
    """Two runs question by question and block by block: where B is better than A, worse, or not to be told apart.

    Exit code 0: B is nowhere worse. 1: B is worse somewhere. 2: the runs cannot be compared.
    """
    with plain_errors(2):
        from rich.console import Console

        from rope_scaling.eval.comparison import CompareJob, run_compare

        code = run_compare(CompareJob(run_a, run_b, scheme_a, scheme_b, json), Console())
    if code:
        raise typer.Exit(code)
