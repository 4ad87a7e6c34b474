"""One thread for each of several test processes: with more they wait for each other's cores, five times as long."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch is imported, which is after this
