"""SGLang: what it reads, and how it is started."""

from __future__ import annotations

from rope_scaling.extend.engines.target import Engine, Target


class SGLang(Engine):
    """Reads `rope_parameters` (or `rope_scaling`) once, when it loads."""

    def words(self, target: Target) -> dict[str, object]:
        """Yarn ignores `attention_factor` and multiplies by `attn_factor`."""
        if target.rope_type == "yarn" and not target.follows_yarn_formula:
            return {"attn_factor": target.from_yarn_formula}
        return {}

    def cannot(self, target: Target) -> str | None:
        """Longrope is off by one at L."""
        if target.rope_type == "longrope":
            return (
                "its longrope gives the token at position L the angle of position 0 where no later token is in the "
                "batch (it takes the long table for positions above L, and the short one ends before L)"
            )
        known = ("default", "linear", "llama3", "yarn")
        return None if target.rope_type in known else f"it knows no rope_type {target.rope_type!r} of this meaning"

    def command(self, target: Target, path: str) -> str:
        """The length is told: from a linear config SGLang derives it scaled twice."""
        return f"python -m sglang.launch_server --model-path {path} --context-length {target.length}"
