"""vLLM: what it reads, and how it is started."""

from __future__ import annotations

import json
import shlex

from rope_scaling.extend.engines.target import Engine, Target


class VLLM(Engine):
    """Reads `rope_parameters` (or `rope_scaling`) once, when it loads."""

    def words(self, target: Target) -> dict[str, object]:
        """Yarn multiplies by `attn_factor`, blind to `attention_factor`; longrope takes its own formula, or mscales."""
        if target.rope_type == "yarn" and not target.follows_yarn_formula:
            return {"attn_factor": target.from_yarn_formula}
        if target.rope_type == "longrope":
            return {"short_mscale": target.attention_factor, "long_mscale": target.attention_factor}
        return {}

    def cannot(self, target: Target) -> str | None:
        """Every encoding of ours can be told, given the words above."""
        known = ("default", "linear", "llama3", "yarn", "longrope")
        return None if target.rope_type in known else f"it knows no rope_type {target.rope_type!r} of this meaning"

    def command(self, target: Target, path: str) -> str:
        """The length is told: from a linear config vLLM derives it scaled twice."""
        return f"vllm serve {path} --max-model-len {target.length}"

    def on_source(self, target: Target, source: str) -> str | None:
        """As its documentation on context extension has it; lists of divisors would fill the screen."""
        if target.rope_type == "longrope":
            return None
        told = {"rope_parameters": dict(target.parameters), "max_position_embeddings": target.length}
        overrides = shlex.quote(json.dumps(told))
        return f"vllm serve {source} --hf-overrides {overrides} --max-model-len {target.length}"
