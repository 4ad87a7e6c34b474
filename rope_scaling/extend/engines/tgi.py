"""Text Generation Inference: what it reads, and how it is started."""

from __future__ import annotations

from rope_scaling.extend.engines.target import Engine, Target


class TGI(Engine):
    """Reads `rope_scaling` and `rope_theta`, the older spelling, once, when it loads."""

    def cannot(self, target: Target) -> str | None:
        """It passes over linear in silence, fixes yarn's options, and computes longrope's attention factor itself."""
        if target.rope_type == "linear":
            return "it reads rope_type 'linear' and does nothing with it"
        if target.rope_type == "longrope":
            return "its longrope ignores attention_factor and is made for Phi-3 alone"
        if target.rope_type == "yarn":
            fixed = target.said(beta_fast=32.0, beta_slow=1.0, truncate=True)
            if fixed:
                return f"its yarn ignores {', '.join(fixed)}"
            return None if target.follows_yarn_formula else "its yarn ignores attention_factor"
        known = ("default", "llama3")
        return None if target.rope_type in known else f"it knows no rope_type {target.rope_type!r} of this meaning"

    def command(self, target: Target, path: str) -> str:
        """Its limits are lower than any model's unless they are told."""
        return (
            f"text-generation-launcher --model-id {path} --max-input-tokens {target.length - 1} "
            f"--max-total-tokens {target.length}"
        )
