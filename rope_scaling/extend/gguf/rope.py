"""The RoPE that a GGUF file's metadata say, and the metadata that say another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rope_scaling.extend.kindred import kindred
from rope_scaling.fields import positive, whole
from rope_scaling.rope import Rope
from rope_scaling.schemes import ABF, NTK, Linear, NoScaling, Scheme, YaRN, is_remap
from rope_scaling.schemes.factor import DEFAULT_FACTOR, resolve_factor
from rope_scaling.schemes.yarn import yarn_attention_factor

RECORD = "rope_scaling.patch"
"""The metadata key in which a file carries what was done to it, and what was there before."""
CHECKED = frozenset({"granite", "llama", "olmo2", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "smollm3"})
"""The architectures whose graph in llama.cpp was read: each rotates by the common keys, and nothing else."""
_THETA = 1e4
"""What llama.cpp takes where the file names none."""

Metadata = Mapping[str, Any]


@dataclass(frozen=True)
class GgufPlan:
    """What becomes of a file's metadata.

    Attributes:
        values: The keys to set; None takes one away.
        scheme: The scheme with its factor.
        original: L, in tokens.
        length: The new length, in tokens.
    """

    values: dict[str, Any]
    scheme: Scheme
    original: int
    length: int


def plan_gguf(
    metadata: Metadata,
    tensors: list[str],
    scheme: Scheme,
    *,
    factor: float | None = None,
    max_length: int | None = None,
    original_max_length: int | None = None,
    on_scaled: str | None = None,
) -> GgufPlan:
    """The metadata for a scheme.

    Raises:
        ValueError: llama.cpp has no words for it, the file is scaled already, or its architecture was not checked.
    """
    rope = read_gguf_rope(metadata, tensors, on_scaled)
    if original_max_length is not None:
        rope = replace(rope, original_max_position_embeddings=whole("original_max_length", original_max_length))
    default = 1.0 if isinstance(scheme, NoScaling) else DEFAULT_FACTOR
    s = resolve_factor(rope, scheme.factor, factor, max_length, default)
    scheme = replace(scheme, factor=s)  # type: ignore[type-var]
    scheme(rope)  # an option that does not fit is an error here
    length = math.floor(s * rope.original_max_position_embeddings + 1e-6)
    arch = metadata["general.architecture"]
    words = {f"{arch}.{key}": value for key, value in _words(scheme, rope, s).items()}
    stale = {key: None for key in metadata if key.startswith((f"{arch}.rope.scaling.", f"{arch}.rope.scale_linear"))}
    values = stale | words | {f"{arch}.context_length": length}
    return GgufPlan(values, scheme, rope.original_max_position_embeddings, length)


def read_gguf_rope(metadata: Metadata, tensors: list[str], on_scaled: str | None) -> Rope:
    """The RoPE that a file was trained with.

    Raises:
        ValueError: It is scaled already, or what it rotates by is not in its metadata alone.
    """
    arch = str(metadata.get("general.architecture"))
    if arch not in CHECKED:
        raise ValueError(f"how llama.cpp rotates {arch} was not checked (checked: {', '.join(sorted(CHECKED))})")
    own = {key.removeprefix(f"{arch}."): value for key, value in metadata.items() if key.startswith(f"{arch}.")}
    _refuse(metadata, own, tensors, on_scaled)
    if "attention.key_length" in own:
        head_dim = whole("attention.key_length", own["attention.key_length"])
    else:
        heads = whole("attention.head_count", own.get("attention.head_count"))
        head_dim = whole("embedding_length", own.get("embedding_length")) // heads
    rotary = whole("rope.dimension_count", own.get("rope.dimension_count", head_dim))
    theta = positive("rope.freq_base", own.get("rope.freq_base", _THETA))
    length = own.get("rope.scaling.original_context_length") or own.get("context_length")
    return Rope.plain(theta, rotary, whole("context_length", length), head_dim=head_dim)


def _refuse(metadata: Metadata, own: Metadata, tensors: list[str], on_scaled: str | None) -> None:
    frequencies = [name for name in tensors if name.startswith("rope_f")]
    if frequencies:
        raise ValueError(
            f"the file is scaled already by a tensor ({frequencies[0]}), and tensors are never touched: "
            "extend the folder that it was converted from, and convert that"
        )
    if metadata.get("split.count", 1) != 1:
        raise ValueError("the file is one part of several: merge them first (llama-gguf-split --merge)")
    for key, told in (("rope.dimension_sections", "positions along axes"), ("attention.sliding_window", "a window")):
        if own.get(key):
            raise ValueError(f"the file has {key} ({told}): how llama.cpp scales such a model was not checked")
    scaled = own.get("rope.scaling.type", "none") != "none" or own.get("rope.scale_linear", 1.0) not in (0.0, 1.0)
    if scaled and on_scaled != "replace":
        raise ValueError(
            f"the file is scaled already (rope.scaling.type {own.get('rope.scaling.type')!r}), and llama.cpp scales "
            "once: pass on_scaled='replace' if only its metadata were edited, to start from the plain frequencies"
        )


def _words(scheme: Scheme, rope: Rope, s: float) -> dict[str, Any]:
    """The keys of one scheme, all those of scaling set so that nothing earlier remains."""
    plain = {"rope.scaling.type": "none", "rope.scaling.factor": 1.0}
    if isinstance(scheme, NoScaling):
        return plain
    if isinstance(scheme, (NTK, ABF)):
        theta = scheme.theta if isinstance(scheme, ABF) else scheme.theta(rope)
        return plain | {"rope.freq_base": theta}
    if isinstance(scheme, Linear):
        return {"rope.scaling.type": "linear", "rope.scaling.factor": s}
    if isinstance(scheme, YaRN):
        return _yarn_words(scheme, rope, s)
    if is_remap(scheme):
        told = kindred(scheme, rope, "").get("llama.cpp", "no engine that reads GGUF has such an attention")
        raise ValueError(f"no metadata say scheme {scheme.name!r}, which remaps positions; nearest: {told}")
    raise ValueError(
        f"llama.cpp has no metadata for scheme {scheme.name!r}, only for linear, ntk, abf and yarn (it would take a "
        "tensor of factors, and tensors are never touched); nothing was written"
    )


def _yarn_words(scheme: YaRN, rope: Rope, s: float) -> dict[str, Any]:
    if not scheme.truncate:
        raise ValueError("llama.cpp's yarn always rounds its ramp to whole pairs: leave truncate out")
    if (scheme.beta_fast, scheme.beta_slow) != (32, 1):
        raise ValueError(
            "llama.cpp reads yarn_beta_fast and yarn_beta_slow from no metadata of these architectures, so the file "
            "would not say them: leave them out, or write it without and serve it with --yarn-beta-fast "
            f"{scheme.beta_fast:g} --yarn-beta-slow {scheme.beta_slow:g}"
        )
    said = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": s,
        "rope.scaling.original_context_length": rope.original_max_position_embeddings,
    }
    asked = yarn_attention_factor(s) if scheme.attention_factor is None else scheme.attention_factor
    over = asked / yarn_attention_factor(s)  # the key multiplies 0.1 ln s + 1
    return said if over == 1.0 else said | {"rope.scaling.attn_factor": over}


def server_flags(plan: GgufPlan) -> str | None:
    """llama-server's flags that say the same of the file as it was; None where it overrides what they say."""
    own = {key.partition(".rope.")[2]: value for key, value in plan.values.items() if value is not None}
    if "scaling.attn_factor" in own:
        return None  # llama.cpp computes what --yarn-attn-factor would set
    named = {
        "scaling.original_context_length": "yarn-orig-ctx",
        "freq_base": "rope-freq-base",
    }
    told = {flag: own[key] for key, flag in named.items() if key in own}
    if own["scaling.type"] != "none":
        told = {"rope-scaling": own["scaling.type"], "rope-scale": own["scaling.factor"]} | told
    return "".join(f"--{flag} {value} " for flag, value in told.items())
