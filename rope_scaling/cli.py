"""The command line: `rope-scaling inspect`, `plot`, `fetch`, `eval`, `lm-eval` and `demo`."""

import contextlib
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rope_scaling.eval.run import Job

# What a command needs is imported inside of it: `--help` must not wait for torch.

app = typer.Typer(
    name="rope-scaling",
    help="Extend the context of a checkpoint by scaling its RoPE, and measure whether it worked.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

Dtype = Annotated[str, typer.Option(help="auto (the checkpoint's own), float32, bfloat16, ...")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda:1, auto, ...; a GPU where there is one.")]
OnScaled = Annotated[str | None, typer.Option(help="For a checkpoint that is scaled already: compose or replace.")]
OriginalMaxLength = Annotated[int | None, typer.Option(help="L, where the config's own value is not to be believed.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rope-scaling {metadata.version('rope-scaling')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Take the options that stand before any command."""


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="tiny-llama-512, macbeth, smollm2, ...; a wrong name lists all.")],
) -> None:
    """Print the path of a small checkpoint or a long text, downloaded once where the package does not carry it."""
    with _plain_errors():
        typer.echo(_fetch(name))


@app.command("eval")
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Folder or Hub name of a causal language model.")],
    text: Annotated[
        Path | None, typer.Option(help="UTF-8 file; its first tokens are scored, as many as the longest length.")
    ] = None,
    lengths: Annotated[str | None, typer.Option(help="Edges of the position ranges: 1k,2k,4k (k = 1024).")] = None,
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
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write everything to this JSON file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the JSON file if it exists.")] = False,
    window: Annotated[
        bool,
        typer.Option(help="The baseline: the unscaled model sees only the last L (trained length) tokens."),
    ] = True,
    stride: Annotated[
        int | None,
        typer.Option(help="Tokens the window moves by: each token sees at least L - stride. L / 8 unless given."),
    ] = None,
    chunk: Annotated[int, typer.Option(help="Tokens read in one forward pass.")] = 512,
    batch_size: Annotated[int, typer.Option(help="Stretches read side by side in one forward pass.")] = 1,
    dtype: Dtype = "auto",
    device: Device = None,
    on_scaled: OnScaled = None,
    original_max_length: OriginalMaxLength = None,
) -> None:
    """Perplexity by position of one text, one pass a scheme, and whether each beats simply cutting the text.

    With --passkey, whether each finds a number hidden in filler text (lm-eval's evaluator on the task rope_passkey).
    """
    with _plain_errors():
        from rope_scaling.eval.bins import parse_lengths
        from rope_scaling.eval.compare import Plan
        from rope_scaling.eval.run import Job

        plan = Plan(tuple(scheme or ["none"]), window, chunk, stride, on_scaled, original_max_length, batch_size)
        edges = parse_lengths(lengths) if lengths else ()
        hidden = parse_lengths(passkey) if passkey else ()
        _run(Job(checkpoint, text, edges, plan, hidden, passkey_samples, texts, output, force, dtype, device))


@app.command()
def inspect(
    checkpoint: Annotated[str, typer.Argument(help="Folder or Hub name of a causal language model.")],
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
    """What the RoPE of a checkpoint is; with --probe, whether its weights agree (exit code 1 where they do not)."""
    with _plain_errors():
        from rich.console import Console
        from transformers import AutoConfig

        from rope_scaling.eval.about import print_rope

        if text is not None and not probe:
            raise ValueError("--text is read by --probe: give both")
        print_rope(Console(), AutoConfig.from_pretrained(checkpoint))
        if not probe:
            return
        from rope_scaling.eval.probe import print_probe, probe_checkpoint

        found = probe_checkpoint(checkpoint, text, dtype, device)
        print_probe(Console(), found)
    if not found.passed:
        raise typer.Exit(1)


@app.command()
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
    with _plain_errors():
        from rope_scaling.eval.images import PlotJob, run_plot

        schemes, pictures = tuple(scheme or ()), tuple(picture or ())
        job = PlotJob(checkpoint, schemes, output, pictures, layer_type, force, on_scaled, original_max_length)
        run_plot(job)
        typer.echo(f"wrote {output}")


@app.command(
    "lm-eval",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def lm_eval(ctx: typer.Context) -> None:
    """Run lm-eval's own command line, which then knows the model rope-hf and the rope_* tasks."""
    with _plain_errors():
        from rope_scaling.eval.harness import main as harness

        harness(ctx.args)


@app.command()
def demo(
    real: Annotated[
        bool, typer.Option("--real", help="SmolLM2-135M past its 8192 tokens instead: a download, and minutes.")
    ] = False,
    lengths: Annotated[str | None, typer.Option(help="Other edges of the position ranges, k = 1024.")] = None,
) -> None:
    """Show a trained checkpoint fail past its trained length and work again when scaled.

    The one shown is carried by the package: Llama, trained to 512 tokens. Nothing is downloaded.
    """
    with _plain_errors():
        from rope_scaling.eval.bins import parse_lengths
        from rope_scaling.eval.demo import demo_job

        output = Path("runs") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}.json"
        _run(demo_job(real, _fetch, output, parse_lengths(lengths) if lengths else None))


def _fetch(name: str) -> Path:
    from rope_scaling.eval.fetch import fetch as get

    return get(name, say=lambda message: typer.echo(message, err=True))


def _run(job: "Job") -> None:
    from rich.console import Console

    from rope_scaling.eval.run import run_job

    run_job(job, out=Console(), err=Console(stderr=True))


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Print what is the user's to mend as one message, without a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
