"""`rope-scaling eval`: the same questions to every scheme."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rope_scaling.commands.errors import plain_errors
from rope_scaling.commands.options import Device, Dtype, OnScaled, OriginalMaxLength

if TYPE_CHECKING:
    from rope_scaling.eval.runner.job import Job


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Folder or Hub name of a causal language model.")],
    tasks: Annotated[
        str | None,
        typer.Option(help="What to ask: rope_quick, rope_vt, ruler, niah_single_1, ... (docs/tasks.md)."),
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="UTF-8 file; its first tokens are scored, as many as the longest length.")
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help="Of the tasks' texts, and the edges of --text's ranges: 1k,2k,4k (k = 1024).")
    ] = None,
    depths: Annotated[
        str, typer.Option(help="Where tasks hide what they ask for: 0 the beginning, 1 the end.")
    ] = "0,0.25,0.5,0.75,1",
    samples: Annotated[int, typer.Option(help="Of each task, for each length and depth.")] = 10,
    seed: Annotated[int, typer.Option(help="Of everything random in the tasks.")] = 0,
    limit: Annotated[int | None, typer.Option(help="Questions of each task at most, as many of each length.")] = None,
    target_stderr: Annotated[
        float | None,
        typer.Option(help="Stop asking a scheme at a length once its score is known to this: 0.05. At most --samples."),
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(help='What tasks take beside these, as JSON: \'{"text": "book.txt", "chains": 3}\'.')
    ] = None,
    texts: Annotated[
        int, typer.Option(help="Score this many stretches of the text, one after another, each as a text of its own.")
    ] = 1,
    passkey: Annotated[
        str | None, typer.Option(help="Also hide a passkey in texts of these lengths, at five depths: 4k,12k.")
    ] = None,
    passkey_samples: Annotated[int, typer.Option(help="Passkeys for each length and depth.")] = 1,
    scheme: Annotated[
        list[str] | None,
        typer.Option(help="none, or such as yarn:factor=4,beta_fast=16. Repeat it for more rows."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder, or JSON file, that keeps all of it; a run that is there goes on."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Start the run over that is there.")] = False,
    window: Annotated[
        bool,
        typer.Option(help="The baseline: the unscaled model sees only the last L (trained length) tokens."),
    ] = True,
    stride: Annotated[
        int | None,
        typer.Option(help="Tokens the window moves by: each token sees at least L - stride. L / 8 unless given."),
    ] = None,
    chunk: Annotated[int, typer.Option(help="Tokens read in one forward pass.")] = 512,
    batch_size: Annotated[int, typer.Option(help="Texts read side by side in one forward pass.")] = 1,
    dtype: Dtype = "auto",
    device: Device = None,
    on_scaled: OnScaled = None,
    original_max_length: OriginalMaxLength = None,
    backend: Annotated[str, typer.Option(help="hf (Transformers), or vllm for the tasks.")] = "hf",
    backend_args: Annotated[
        str | None, typer.Option(help="Of vLLM: tensor_parallel_size=2,gpu_memory_utilization=0.8")
    ] = None,
) -> None:
    """Ask every scheme the same: long-context tasks, and perplexity by position of a text.

    Every answer is kept as it comes (--output RUN): stop it, start it again, or add tasks, lengths and schemes.
    """
    with plain_errors():
        from rope_scaling.eval.bins import parse_lengths
        from rope_scaling.eval.compare import Plan
        from rope_scaling.eval.runner.grid import read_grid
        from rope_scaling.eval.runner.job import Job

        plan = Plan(tuple(scheme or ["none"]), window, chunk, stride, on_scaled, original_max_length, batch_size)
        edges = parse_lengths(lengths) if lengths else ()
        hidden = parse_lengths(passkey) if passkey else ()
        grid = read_grid(tasks, edges, depths, samples, seed, limit, target_stderr, metadata) if tasks else None
        ranges = edges if text or grid is None else ()
        job = Job(
            *(checkpoint, text, ranges, plan, hidden, passkey_samples, texts, output, force, dtype, device, grid),
            *(backend, backend_args),
        )
        run(job)


def run(job: "Job") -> None:
    """Run what `rope-scaling eval` and the demo ask for, and print its tables."""
    from rich.console import Console

    from rope_scaling.eval.run import run_job

    run_job(job, out=Console(), err=Console(stderr=True))
