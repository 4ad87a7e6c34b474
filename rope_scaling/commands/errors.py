"""What a command says where it would end in a traceback."""

import contextlib
from collections.abc import Iterator

import typer


@contextlib.contextmanager
def plain_errors(code: int = 1) -> Iterator[None]:
    """Print what is the user's to mend as one message, without a traceback, and exit with `code`."""
    try:
        yield
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(code) from None
    except KeyboardInterrupt:  # what a command says itself of Ctrl-C is said by then
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None
