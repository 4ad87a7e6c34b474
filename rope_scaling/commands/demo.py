"""`rope-scaling demo`: a checkpoint past its trained length, unpatched and patched."""

import time
from pathlib import Path
from typing import Annotated

import typer

from rope_scaling.commands.errors import plain_errors
from rope_scaling.commands.evaluate import run
from rope_scaling.commands.fetch import fetched


def demo(
    real: Annotated[
        bool, typer.Option("--real", help="SmolLM2-135M past its 8192 tokens instead: a download, and minutes.")
    ] = False,
    lengths: Annotated[str | None, typer.Option(help="Other edges of the position ranges, k = 1024.")] = None,
) -> None:
    """Show a trained checkpoint fail past its trained length and work again when scaled.

    The one shown is carried by the package: Llama, trained to 512 tokens. Nothing is downloaded.
    """
    with plain_errors():
        from rope_scaling.eval.bins import parse_lengths
        from rope_scaling.eval.demo import demo_job

        output = Path("runs") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}.json"
        run(demo_job(real, fetched, output, parse_lengths(lengths) if lengths else None))
