"""ExLlamaV3: what it reads, and how a model is loaded."""

from __future__ import annotations

from rope_scaling.extend.engines.target import Engine, Target


class ExLlama(Engine):
    """Reads `rope_scaling` (or `rope_parameters`) and `rope_theta` once, when it loads."""

    def cannot(self, target: Target) -> str | None:
        """Yarn's s is the ratio of the lengths to it, and longrope's attention factor its own formula."""
        if target.rope_type == "yarn" and not target.factor_is_the_ratio:
            return "its yarn takes max_position_embeddings / original_max_position_embeddings for the factor"
        if target.rope_type == "longrope" and not target.follows_longrope_formula:
            return "its longrope ignores attention_factor and takes √(1 + ln s / ln L)"
        known = ("default", "linear", "llama3", "yarn", "longrope")
        return None if target.rope_type in known else f"it knows no rope_type {target.rope_type!r} of this meaning"

    def command(self, target: Target, path: str) -> str:
        """It is a library: the folder is quantized, and the result loaded with a cache as long as the new length."""
        return f"python convert.py -i {path} -o {path}-exl3 -w WORK_FOLDER -b 4.0  # keeps config.json"
