"""`rope-scaling plot`: pictures of a scaling's frequencies."""

from pathlib import Path
from typing import Annotated

import typer

from rope_scaling.commands.errors import plain_errors
from rope_scaling.commands.options import OnScaled, OriginalMaxLength


def plot(
    checkpoint: Annotated[str, typer.Argument(help="Folder or Hub name; only its config is read.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .html, .png or .svg.")],
    scheme: Annotated[
        list[str] | None,
        typer.Option(help="Such as yarn:factor=4,beta_fast=16. Repeat it; the trained RoPE is always shown."),
    ] = None,
    picture: Annotated[
        list[str] | None, typer.Option(help="wavelengths, kernel or angles. Repeat it for several; all unless given.")
    ] = None,
    layer_type: Annotated[
        str | None, typer.Option(help="Which layers, where the checkpoint has a RoPE for each type.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    on_scaled: OnScaled = None,
    original_max_length: OriginalMaxLength = None,
) -> None:
    """Draw wavelengths, the kernel's decay and angles never trained, before and after scaling (no weights needed)."""
    with plain_errors():
        from rope_scaling.eval.images import PlotJob, run_plot

        schemes, pictures = tuple(scheme or ()), tuple(picture or ())
        job = PlotJob(checkpoint, schemes, output, pictures, layer_type, force, on_scaled, original_max_length)
        run_plot(job)
        typer.echo(f"wrote {output}")
