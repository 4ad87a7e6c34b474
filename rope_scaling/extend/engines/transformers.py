"""Transformers: always the target, because every config is proved with it."""

from __future__ import annotations

from rope_scaling.extend.engines.target import Engine, Target


class Transformers(Engine):
    """Reads `rope_parameters`; version 4 reads `rope_scaling` and `rope_theta`."""

    def refusal(self, target: Target) -> str | None:
        """None: a config that it reads otherwise was refused before."""
        return None

    def command(self, target: Target, path: str) -> str:
        """No flag is needed."""
        return f"transformers serve {path}"
