"""Rules about dimensions: head_dim, what of it is rotated, and what the weights say."""

from __future__ import annotations

from collections.abc import Iterator

from rope_scaling.doctor.facts import Facts, number
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.resolved import MOST_LAYERS, too_large
from rope_scaling.rope import plain_inv_freq

LONGEST = 2**31
"""Positions are int32 in many kernels; no checkpoint declares as many tokens."""
_PARTIAL = ("partial_rotary_factor", "rotary_pct")


def _head_dim(facts: Facts) -> Iterator[Symptom]:
    if facts.config.get("qk_rope_head_dim") is not None:
        return
    head_dim = number(facts.config.get("head_dim") or getattr(facts.resolved, "head_dim", None))
    hidden, heads = (number(facts.config.get(key)) for key in ("hidden_size", "num_attention_heads"))
    if head_dim is None and hidden and heads and hidden > 0 and heads > 0 and hidden % heads:
        yield Symptom(
            seen=f"hidden_size {hidden:g} is no multiple of num_attention_heads {heads:g}, and there is no head_dim",
            consequence=f"A head would have {hidden / heads:g} dimensions; Transformers rounds down to "
            f"{int(hidden // heads)}, and {int(hidden % heads)} of the rows of each projection are left over.",
            mend="write the head_dim that was trained into config.json",
            evidence={"hidden_size": hidden, "num_attention_heads": heads},
        )
    whole = all(_partial(facts, where) in (None, 1.0) for where in range(len(facts.parameters)))
    if head_dim is not None and head_dim % 2 and whole:
        yield Symptom(
            seen=f"head_dim is {head_dim:g}",
            consequence="Pairs of dimensions are rotated: one dimension is left without a partner.",
            mend="write the even head_dim that was trained into config.json",
            evidence={"head_dim": head_dim},
        )


def _rows(facts: Facts) -> Iterator[Symptom]:
    head_dim = number(facts.config.get("head_dim") or getattr(facts.resolved, "head_dim", None))
    hidden, heads = (number(facts.config.get(key)) for key in ("hidden_size", "num_attention_heads"))
    shared = number(facts.config.get("num_key_value_heads")) or heads
    if facts.config.get("qk_rope_head_dim") is not None or not heads or not shared or not hidden:
        return
    head_dim = hidden // heads if head_dim is None else head_dim
    if head_dim <= 0:
        return
    ways = {"q_proj": {heads, 2 * heads}, "k_proj": {shared}}  # twice where a gate comes with the query
    for name, shape in facts.tensors.shapes.items():
        counts = ways.get(name.removesuffix(".weight").rpartition(".")[2])
        if counts is None or len(shape) != 2 or shape[1] != hidden or "layers." not in name:
            continue  # packed, or of another tower
        if shape[0] not in {count * head_dim for count in counts}:
            yield Symptom(
                seen=f"{name} has {shape[0]} rows for {min(counts):g} heads of {head_dim:g} dimensions",
                consequence=f"The weights hold {shape[0] / min(counts):g} dimensions a head. Transformers does not "
                "load them, or with ignore_mismatched_sizes makes them random.",
                mend=f"set head_dim to {shape[0] / min(counts):g} in config.json, or the number of heads to "
                f"{shape[0] / head_dim:g}",
                evidence={"rows": shape[0], "head_dim": head_dim, "heads": min(counts)},
            )
            return


def _partial_factor(facts: Facts) -> Iterator[Symptom]:
    for place, one in enumerate(facts.parameters):
        partial = _partial(facts, place)
        told = {key: number(facts.config.get(key)) for key in _PARTIAL}
        inner = one.number("partial_rotary_factor")
        said = {key: value for key, value in {**told, one.where: inner}.items() if value is not None}
        if len(set(said.values())) > 1 and one.layer_type is None:
            yield Symptom(
                seen="partial_rotary_factor is said twice: " + ", ".join(f"{k} {v:g}" for k, v in said.items()),
                consequence=_other_dims(facts, sorted(set(said.values()))),
                mend="leave the one that was trained",
                evidence=dict(said),
            )
        head_dim = _head(facts)
        if partial is None or head_dim is None or facts.config.get("qk_rope_head_dim") is not None:
            continue
        rotary = int(head_dim * partial) if 0 < partial <= 2**10 else 0
        if not 0 < rotary <= head_dim or rotary % 2:
            yield Symptom(
                seen=f"partial_rotary_factor {partial:g} of head_dim {head_dim:g} gives rotary_dim {rotary}",
                consequence="It must be even, above 0 and at most head_dim: pairs of dimensions are rotated.",
                mend="write the partial_rotary_factor that was trained",
                evidence={"partial_rotary_factor": partial, "head_dim": head_dim, "rotary_dim": rotary},
            )


def _other_dims(facts: Facts, values: list[float]) -> str:
    head_dim = _head(facts)
    if head_dim is None or not 0 < head_dim <= 2**16:
        return "Engines rotate different numbers of dimensions, all frequencies but the first differ."
    few, many = (max(2, int(head_dim * min(value, 1.0)) // 2 * 2) for value in (values[0], values[-1]))
    thin, wide = plain_inv_freq(1e4, few), plain_inv_freq(1e4, many)
    off = max(a / b for a, b in zip(wide, thin, strict=False))
    return (
        f"Engines rotate {few} or {many} of {head_dim:g} dimensions; at theta 10000 the frequencies of the same pair "
        f"differ by up to {off:.3g}×."
    )


def _head(facts: Facts) -> float | None:
    said = number(facts.config.get("head_dim"))
    if said is not None:
        return said
    hidden, heads = (number(facts.config.get(key)) for key in ("hidden_size", "num_attention_heads"))
    return hidden // heads if hidden and heads and heads > 0 else None


def _partial(facts: Facts, place: int) -> float | None:
    inner = facts.parameters[place].number("partial_rotary_factor")
    return inner if inner is not None else number(facts.config.get("partial_rotary_factor"))


def _absurd(facts: Facts) -> Iterator[Symptom]:
    declared, key = facts.max_length, too_large(facts.config)
    if declared is not None and declared > LONGEST:
        yield Symptom(
            seen=f"max_position_embeddings is {declared:.3g}",
            consequence=f"No kernel counts as many positions (int32 ends at {LONGEST}); engines that make a table of "
            "cos and sin for all of them run out of memory.",
            mend="write the length that was trained",
            evidence={"max_position_embeddings": float(declared)},
        )
    if key is not None:
        yield Symptom(
            seen=f"{key} is more than {MOST_LAYERS}",
            consequence="Config classes make a list with an entry for every layer and run out of memory; nothing was "
            "made of this config here.",
            mend=f"write the {key} that was trained",
            evidence={"key": key},
        )


RULES = (
    Rule(
        "absurd-size",
        Severity.ERROR,
        "A length or a count that no model has.",
        "Engines allocate for it.",
        _absurd,
    ),
    Rule(
        "head-dim",
        Severity.ERROR,
        "head_dim is odd, or hidden_size is no multiple of the number of heads.",
        "Pairs are rotated, and `hidden_size // num_attention_heads` rounds down silently.",
        _head_dim,
    ),
    Rule(
        "head-dim-weights",
        Severity.ERROR,
        "The weight files hold heads of another size than the config says.",
        "Told from the safetensors headers, without loading anything.",
        _rows,
    ),
    Rule(
        "partial-rotary",
        Severity.ERROR,
        "partial_rotary_factor is said twice, or gives no even number of dimensions.",
        "How many dimensions turn decides all frequencies: theta^(-2i/d).",
        _partial_factor,
    ),
)
