"""`python -m rope_scaling` is `rope-scaling`."""

from rope_scaling.cli import app

app(prog_name="rope-scaling")
