"""`rope-scaling lm-eval`: the harness's own command line, with our model and tasks."""

import typer

from rope_scaling.commands.errors import plain_errors


def lm_eval(ctx: typer.Context) -> None:
    """Run lm-eval's own command line, which then knows the model rope-hf and the rope_* tasks."""
    with plain_errors():
        from rope_scaling.eval.harness import main as harness

        harness(ctx.args)
