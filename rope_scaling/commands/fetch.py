"""`rope-scaling fetch`: a small checkpoint or a long text, by name."""

from pathlib import Path
from typing import Annotated

import typer

from rope_scaling.commands.errors import plain_errors


def fetch(
    name: Annotated[str, typer.Argument(help="tiny-llama-512, macbeth, smollm2, ...; a wrong name lists all.")],
) -> None:
    """Print the path of a small checkpoint or a long text, downloaded once where the package does not carry it."""
    with plain_errors():
        typer.echo(fetched(name))


def fetched(name: str) -> Path:
    """The path of what a name stands for; on the way, what is happening is told on stderr."""
    from rope_scaling.eval.fetch import fetch as get

    return get(name, say=lambda message: typer.echo(message, err=True))
