"""The frequencies that a config describes, by the papers' formulae in float64 and nothing of this package."""

from __future__ import annotations

import math
from typing import Any

BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}


def by_the_papers(config: dict[str, Any], own: dict[str, Any]) -> tuple[list[float], float]:
    """(inv_freq, attention_factor) at the config's whole length, float64, for numbers that mean something."""

    def said(key: str, default: Any = None) -> Any:
        found = next((source[key] for source in (own, config) if source.get(key) is not None), None)
        return default if found is None else found

    head = said("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    d = int(head * said("partial_rotary_factor", 1.0))
    b = said("rope_theta", 1e4)
    theta = [b ** (-2 * i / d) for i in range(d // 2)]
    kind = own.get("rope_type") or own.get("type") or "default"
    whole = config["max_position_embeddings"]
    length = said("original_max_position_embeddings", whole)
    s = own.get("factor") if own.get("factor") is not None else whole / length
    log = 0.1 * math.log(s) if s > 1 else 0.0
    if kind == "linear":
        return [f / s for f in theta], 1.0
    if kind == "llama3":
        low, high = own["low_freq_factor"], own["high_freq_factor"]
        keep = [min(1.0, max(0.0, (length * f / (2 * math.pi) - low) / (high - low))) for f in theta]
        return [(1 - k) * f / s + k * f for f, k in zip(theta, keep, strict=True)], 1.0
    if kind == "yarn":
        ends = [d * math.log(length / (own.get(k) or r) / (2 * math.pi)) / (2 * math.log(b)) for k, r in BETAS.items()]
        if own.get("truncate", True):
            ends = [math.floor(ends[0]), math.ceil(ends[1])]
        first, last = max(ends[0], 0), min(ends[1], d - 1)
        ramp = [min(1.0, max(0.0, (i - first) / (last - first or 0.001))) for i in range(d // 2)]
        mscales = own.get("mscale"), own.get("mscale_all_dim")
        ratio = (mscales[0] * log + 1) / (mscales[1] * log + 1) if all(mscales) else log + 1
        given = own.get("attention_factor")
        return [f * r / s + f * (1 - r) for f, r in zip(theta, ramp, strict=True)], ratio if given is None else given
    if kind == "longrope":
        divisors = own["long_factor" if whole > length else "short_factor"]
        given = own.get("attention_factor")
        temper = math.sqrt(1 + math.log(s) / math.log(length)) if s > 1 else 1.0
        return [f / x for f, x in zip(theta, divisors, strict=True)], temper if given is None else given
    return theta, 1.0  # "default", and "dynamic" at the length that it was trained to
