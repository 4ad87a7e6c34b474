"""The command line: the commands of `rope-scaling`, in the order of its help."""

from importlib import metadata
from typing import Annotated

import typer

from rope_scaling.commands.compare import compare
from rope_scaling.commands.demo import demo
from rope_scaling.commands.evaluate import evaluate
from rope_scaling.commands.extend import extend
from rope_scaling.commands.fetch import fetch
from rope_scaling.commands.inspect import inspect
from rope_scaling.commands.lm_eval import lm_eval
from rope_scaling.commands.plot import plot
from rope_scaling.commands.report import report

app = typer.Typer(
    name="rope-scaling",
    help="Extend the context of a checkpoint by scaling its RoPE, and measure whether it worked.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


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


app.command()(fetch)
app.command("eval")(evaluate)
app.command()(inspect)
app.command()(extend)
app.command()(report)
app.command()(compare)
app.command()(plot)
app.command(
    "lm-eval",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)(lm_eval)
app.command()(demo)
