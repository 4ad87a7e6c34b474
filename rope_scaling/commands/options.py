"""Options that several commands take alike."""

from typing import Annotated

import typer

Dtype = Annotated[str, typer.Option(help="auto (the checkpoint's own), float32, bfloat16, ...")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda:1, auto, ...; a GPU where there is one.")]
OnScaled = Annotated[str | None, typer.Option(help="For a checkpoint that is scaled already: compose or replace.")]
OriginalMaxLength = Annotated[int | None, typer.Option(help="L, where the config's own value is not to be believed.")]
