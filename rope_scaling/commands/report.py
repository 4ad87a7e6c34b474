"""`rope-scaling report`: one page of a run."""

from pathlib import Path
from typing import Annotated

import typer

from rope_scaling.commands.errors import plain_errors


def report(
    run: Annotated[Path, typer.Argument(help="What `rope-scaling eval -o` or the demo wrote: a folder or a file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page to write; beside the record unless given.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write a summary for a model card to this file.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Also write every chart as PNG and SVG into this folder (needs Chrome).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """One page that needs no network: what each scheme sees, costs and buys, with charts, tables and the command."""
    with plain_errors():
        from rope_scaling.eval.report.job import ReportJob, run_report

        for path in run_report(ReportJob(run, output, images, markdown, force)):
            typer.echo(f"wrote {path}")
