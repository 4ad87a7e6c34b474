"""llama.cpp: what its converter reads from a folder, and how the result is served."""

from __future__ import annotations

from rope_scaling.extend.engines.target import Engine, Target

_WITH_LLAMA3 = {"llama", "mistral", "smollm3"}
"""Architectures for which its converter turns llama3 into a table of factors."""


class LlamaCpp(Engine):
    """Reads metadata keys of a GGUF file, which its converter writes from `rope_parameters`."""

    def cannot(self, target: Target) -> str | None:
        """Yarn with the usual ramp and temperature, linear, another theta; llama3 where the converter knows it."""
        if target.rope_type == "longrope":
            return "its converter drops the lists of a longrope config but for Phi-3, and the model would not be scaled"
        if target.rope_type == "llama3" and target.model_type not in _WITH_LLAMA3:
            return f"its converter drops llama3 for {target.model_type}, and the model would not be scaled"
        if target.rope_type == "yarn":
            if target.said(beta_fast=32.0, beta_slow=1.0):
                return "it reads beta_fast and beta_slow from the metadata of grok and mistral3 alone"
            if target.said(truncate=True):
                return "its yarn always rounds the ramp to whole pairs (truncate)"
            if not target.follows_yarn_formula:
                return (
                    "its converter writes attention_factor to a key that the engine computes itself: convert the "
                    "unscaled checkpoint and give the GGUF file to rope-scaling extend, which sets the key that counts"
                )
        known = ("default", "linear", "llama3", "yarn")
        return None if target.rope_type in known else f"it knows no rope_type {target.rope_type!r} of this meaning"

    def command(self, target: Target, path: str) -> str:
        """Convert, then serve; the metadata say the rest."""
        return (
            f"python convert_hf_to_gguf.py {path} --outfile {path}.gguf && "
            f"llama-server -m {path}.gguf -c {target.length}"
        )
