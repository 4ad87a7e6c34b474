"""`python -m rope_scaling.eval` is `rope-scaling eval`: a module is what launchers of several processes start."""

import sys

from rope_scaling.cli import app

app(["eval", *sys.argv[1:]], prog_name="rope-scaling")
