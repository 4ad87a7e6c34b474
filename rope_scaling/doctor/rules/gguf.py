"""Rules about a GGUF file: what llama.cpp ignores, and where it contradicts the config that it was made from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from rope_scaling.doctor.facts import Facts, number
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.gguf_file import as_config
from rope_scaling.doctor.ropes import plain_rope, tabled, widest_change
from rope_scaling.schemes import Llama3, LongRoPE

_SCALING_TYPES = ("none", "linear", "yarn", "longrope")
"""ggml-org/llama.cpp, src/llama-model.cpp, LLAMA_ROPE_SCALING_TYPES."""


def _own(facts: Facts) -> Mapping[str, Any]:
    """The keys of the file's architecture, without its name."""
    metadata = facts.gguf or {}
    arch = f"{metadata.get('general.architecture', '')}."
    return {key.removeprefix(arch): value for key, value in metadata.items() if key.startswith(arch)}


def _ignored(facts: Facts) -> Iterator[Symptom]:
    own = _own(facts)
    kind, factor = own.get("rope.scaling.type"), number(own.get("rope.scaling.factor"))
    if kind is not None and kind not in _SCALING_TYPES:
        yield Symptom(
            seen=f"rope.scaling.type is {kind!r}",
            consequence="llama.cpp knows none, linear, yarn and longrope and aborts while loading.",
            mend="convert the checkpoint again, or write one of them with gguf-new-metadata",
            evidence={"rope.scaling.type": str(kind)},
            severity=Severity.ERROR,
        )
    elif kind == "none" and factor not in (None, 0.0, 1.0):
        yield Symptom(
            seen=f"rope.scaling.factor is {factor:g} and rope.scaling.type none",
            consequence=f"llama.cpp scales nothing under none: every frequency is {factor:.3g}× what the factor meant.",
            mend="set rope.scaling.type to linear or yarn",
            evidence={"factor": factor},
        )
    elif kind == "yarn" and own.get("rope.scaling.original_context_length") is None and factor not in (None, 1.0):
        yield Symptom(
            seen="rope.scaling.type is yarn without rope.scaling.original_context_length",
            consequence=f"llama.cpp lays the ramp over context_length {own.get('context_length')} instead of the "
            "trained length.",
            mend="set rope.scaling.original_context_length, or serve with --yarn-orig-ctx N",
            evidence={"context_length": number(own.get("context_length"))},
        )


def _against_config(facts: Facts) -> Iterator[Symptom]:
    if facts.gguf is None or not facts.outer:
        return
    there, here = as_config(facts.gguf), facts.parameters[0]
    theirs = there["rope_parameters"]
    told = {
        "context_length": (number(there.get("max_position_embeddings")), number(facts.max_length)),
        "rope.freq_base": (number(theirs.get("rope_theta")), _theta(facts)),
    }
    for key, (in_file, in_config) in told.items():
        if in_file is None or in_config is None or math.isclose(in_file, in_config, rel_tol=1e-5):
            continue
        yield Symptom(
            seen=f"{key} is {in_file:g} in the GGUF file and {in_config:g} in config.json",
            consequence=_consequence(facts, key, in_file, in_config),
            mend="convert the checkpoint again, or set the key with gguf-set-metadata",
            evidence={"gguf": in_file, "config": in_config},
            severity=Severity.ERROR if key == "rope.freq_base" else None,
        )
    kinds = (str(theirs["rope_type"]), {"su": "longrope"}.get(here.rope_type, here.rope_type))
    scaled = kinds[1] in ("linear", "yarn")
    factors = (number(theirs.get("factor")) or 1.0, (here.number("factor") or 1.0) if scaled else 1.0)
    if (scaled or kinds[0] != "default") and (kinds[0] != kinds[1] or not math.isclose(*factors, rel_tol=1e-5)):
        yield Symptom(
            seen=f"the GGUF file scales by {kinds[0]} {factors[0]:g}, config.json by {kinds[1]} {factors[1]:g}",
            consequence=f"llama.cpp and Transformers rotate differently, the slowest pairs by "
            f"{max(factors) / min(factors):.3g}×.",
            mend="convert the checkpoint again, or set rope.scaling.type and rope.scaling.factor",
            evidence={"gguf": kinds[0], "config": kinds[1], "gguf factor": factors[0], "config factor": factors[1]},
            severity=Severity.ERROR,
        )


def _theta(facts: Facts) -> float | None:
    rope = plain_rope(facts, facts.parameters[0])
    return None if rope is None else rope.theta


def _consequence(facts: Facts, key: str, in_file: float, in_config: float) -> str:
    rope = plain_rope(facts, facts.parameters[0])
    if key != "rope.freq_base" or rope is None or in_file <= 0:
        return f"llama.cpp takes {in_file:g} tokens for the trained length, Transformers {in_config:g}."
    slowest = (max(in_file, in_config) / min(in_file, in_config)) ** ((rope.rotary_dim - 2) / rope.rotary_dim)
    return f"llama.cpp and Transformers rotate differently, the slowest pair by {slowest:.3g}×."


def _no_factors(facts: Facts) -> Iterator[Symptom]:
    if facts.gguf is None or not facts.outer:
        return
    one = facts.parameters[0]
    wanted = {"llama3": "rope_freqs.weight", "longrope": "rope_factors_long.weight", "su": "rope_factors_long.weight"}
    tensor, rope = wanted.get(one.rope_type), plain_rope(facts, one)
    if tensor is None or rope is None or any(name.endswith(tensor) for name in facts.gguf_tensors):
        return
    lists, factor = one.said.get("long_factor"), one.number("factor")
    llama3 = one.rope_type == "llama3"
    made = tabled(partial(Llama3, factor) if llama3 else partial(LongRoPE, lists or (), factor=2.0), rope)
    off = "" if made is None else f", up to {widest_change(made.inv_freq, rope.inv_freq).told}"
    yield Symptom(
        seen=f"config.json says {one.rope_type}, and the GGUF file has no tensor {tensor}",
        consequence=f"llama.cpp keeps these divisors in that tensor; without it, it rotates unscaled{off}.",
        mend="convert the checkpoint again with a recent convert_hf_to_gguf.py",
        evidence={"tensor": tensor},
    )


RULES = (
    Rule(
        "gguf-scaling",
        Severity.WARNING,
        "Scaling keys of a GGUF file that llama.cpp ignores, or that make it abort.",
        "Without `rope.scaling.type` a factor counts as linear; under `none` it does not count.",
        _ignored,
    ),
    Rule(
        "gguf-config",
        Severity.WARNING,
        "A GGUF file contradicts the config.json beside it.",
        "Length, theta, and scaling are compared; other frequencies are an error.",
        _against_config,
    ),
    Rule(
        "gguf-no-factors",
        Severity.ERROR,
        "llama3 or longrope in config.json, and no tensor of divisors in the GGUF file.",
        "Converters before July 2024 did not write `rope_freqs.weight`.",
        _no_factors,
    ),
)
