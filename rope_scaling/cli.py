"""The command line: every command of `rope-scaling`, each a thin call into the package."""

import contextlib
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rope_scaling.eval.runner.job import Job

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
    with _plain_errors():
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
        _run(job)


@app.command()
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
    with _plain_errors(2):
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


@app.command()
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
    with _plain_errors():
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


@app.command()
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
    with _plain_errors():
        from rope_scaling.eval.report import ReportJob, run_report

        for path in run_report(ReportJob(run, output, images, markdown, force)):
            typer.echo(f"wrote {path}")


@app.command()
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
    with _plain_errors(2):
        from rich.console import Console

        from rope_scaling.eval.comparison import CompareJob, run_compare

        code = run_compare(CompareJob(run_a, run_b, scheme_a, scheme_b, json), Console())
    if code:
        raise typer.Exit(code)


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
def _plain_errors(code: int = 1) -> Iterator[None]:
    """Print what is the user's to mend as one message, without a traceback, and exit with `code`."""
    try:
        yield
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(code) from None
