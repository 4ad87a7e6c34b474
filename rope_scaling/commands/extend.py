"""`rope-scaling extend`: a checkpoint on disk that reads longer texts."""

from pathlib import Path
from typing import Annotated

import typer

from rope_scaling.commands.errors import plain_errors
from rope_scaling.commands.options import OnScaled, OriginalMaxLength


def extend(
    checkpoint: Annotated[str, typer.Argument(help="Folder or Hub name of a checkpoint, or a GGUF file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder (or .gguf file) to write.")],
    scheme: Annotated[str | None, typer.Option(help="Such as yarn, ntk:factor=4, yarn:factor=4,beta_fast=16.")] = None,
    factor: Annotated[float | None, typer.Option(help="New length / trained length, if the scheme says none.")] = None,
    max_length: Annotated[str | None, typer.Option(help="The new length instead: 32k (k = 1024).")] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option("--for", help="vllm, sglang, llama.cpp, tgi, exllama or all. Repeat it; transformers always."),
    ] = None,
    layer_type: Annotated[
        list[str] | None, typer.Option(help="Which layers, where each type has a RoPE of its own. Repeat it.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Write the checkpoint as it was before.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what extend wrote there before.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the weights, where they could be linked.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the Python files that the checkpoint brings.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, of a checkpoint on the Hub.")] = None,
    on_scaled: OnScaled = None,
    original_max_length: OriginalMaxLength = None,
) -> None:
    """Write a checkpoint that reads longer texts, for plain Transformers and other engines; no weight is loaded."""
    with plain_errors():
        from rich.console import Console

        from rope_scaling.eval.bins import parse_lengths
        from rope_scaling.eval.extend import ExtendJob, run_extend

        length = parse_lengths(max_length)[-1] if max_length else None
        engines, kinds = tuple(engine or ()), tuple(layer_type or ())
        job = ExtendJob(
            *(checkpoint, output, scheme, factor, length, engines, kinds, on_scaled, original_max_length),
            *(undo, force, copy, trust_remote_code, revision),
        )
        run_extend(job, Console(), Console(stderr=True))
