"""`rope-scaling inspect`: what the RoPE of a checkpoint is, and what is wrong with it."""

from pathlib import Path
from typing import Annotated

import typer

from rope_scaling.commands.errors import plain_errors
from rope_scaling.commands.options import Device, Dtype


def inspect(
    checkpoint: Annotated[str, typer.Argument(help="Folder or Hub name of a checkpoint, or a GGUF file.")],
    max_length: Annotated[
        str | None, typer.Option(help="Also tell what each scheme would do at this length: 128k (k = 1024).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object instead.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="The checkpoint folder that a GGUF file was made from; its own folder if none.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let code that comes with the checkpoint read its config.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Load the weights and measure whether the model obeys the laws of RoPE.")
    ] = False,
    text: Annotated[
        Path | None,
        typer.Option(help="UTF-8 file of natural text, for faults that only the model's predictions betray."),
    ] = None,
    dtype: Dtype = "auto",
    device: Device = None,
) -> None:
    """What the RoPE of a checkpoint is, what is wrong with it, and what mends it. Weights are not loaded.

    Exit code 0: nothing above a note. 1: warnings. 2: errors, or a checkpoint that cannot be read.
    """
    with plain_errors(2):
        from rich.console import Console

        from rope_scaling.doctor import examine, facts_of, worst
        from rope_scaling.doctor.report import as_json
        from rope_scaling.doctor.terminal import print_page
        from rope_scaling.eval.bins import parse_lengths

        if text is not None and not probe:
            raise ValueError("--text is read by --probe: give both")
        if probe and json:
            raise ValueError("--json tells what the files say; --probe has a page only: give one of them")
        wished = parse_lengths(max_length)[-1] if max_length else None
        facts = facts_of(checkpoint, wished=wished, beside=str(config) if config else None, trust=trust_remote_code)
        findings = examine(facts)
        code = worst(findings)
        if json:
            typer.echo(as_json(facts, findings))
        else:
            print_page(Console(), facts, findings)
        if probe:
            from rope_scaling.eval.probe import print_probe, probe_checkpoint

            found = probe_checkpoint(checkpoint, text, dtype, device)
            print_probe(Console(), found)
            code = code if found.passed else 2
    if code:
        raise typer.Exit(code)
