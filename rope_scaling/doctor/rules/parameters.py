"""Rules about the keys of `rope_parameters`: which are missing, ignored, impossible or contradictory."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import partial

from rope_scaling.doctor.engines import KNOWN_TYPES, ONLY_VLLM
from rope_scaling.doctor.facts import Facts, number
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.ropes import plain_rope, tabled, widest_change
from rope_scaling.schemes import YaRN

_NEEDED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": ("short_factor", "long_factor"),
}
_NUMBERS = (
    *("factor", "rope_theta", "attention_factor", "attn_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"),
    *("low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "partial_rotary_factor"),
)


def _unknown_type(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        kind = one.rope_type
        if kind in KNOWN_TYPES:
            continue
        close = difflib.get_close_matches(kind.lower(), KNOWN_TYPES, n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        yield Symptom(
            seen=f"{one.where} has rope_type {kind!r}{hint}",
            consequence="Transformers has no function of that name: the model is not made at all, or by the "
            "checkpoint's own code only.",
            mend=f"set {one.where}.rope_type to one of {', '.join(KNOWN_TYPES[:7])}",
            evidence={"rope_type": kind},
            engines={"vllm": "has a type of that name" if kind in ONLY_VLLM else "stops with a ValueError"},
        )


def _missing_key(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        missing = [key for key in _NEEDED.get(one.rope_type, ()) if one.said.get(key) is None]
        ratio_serves = one.rope_type == "yarn" and facts.original(one) is not None and "factor" in one.said
        if not missing or ratio_serves:  # Transformers takes "factor": null for the ratio of the lengths
            continue
        yield Symptom(
            seen=f"{one.where} has rope_type {one.rope_type!r} and no {', '.join(missing)}",
            consequence="Transformers stops with a KeyError when it reads the config; SGLang goes on with factor 1, "
            "that is unscaled."
            if "factor" in missing
            else "Transformers and vLLM stop with a KeyError.",
            mend=f"write {', '.join(missing)} into {one.where}, or remove the scaling",
            evidence={"missing": ", ".join(missing)},
        )


def _bad_number(facts: Facts) -> Iterator[Symptom]:
    places = [(one.where, one.said) for one in facts.parameters]
    top: Mapping[str, object] = {key: facts.config[key] for key in _TOP if key in facts.config}
    for where, said in [*places, ("config.json", top)]:
        for key in (*_NUMBERS, *_TOP):
            value = said.get(key)
            if value is None or ((found := number(value)) is not None and found > 0):
                continue
            if found == 0 and key in ("mscale", "mscale_all_dim"):
                continue  # 0 says that there is none
            yield Symptom(
                seen=f"{where} has {key} {_short(value)}",
                consequence="It must be a number above 0 that float32 computes with. Engines stop with an error, or "
                "compute NaN logits.",
                mend=f"write a number for {key} into {where}",
                evidence={"key": key, "value": _short(value)},
            )


_TOP = ("max_position_embeddings", "head_dim", "hidden_size", "num_attention_heads")


def _short(value: object) -> str:
    try:
        told = repr(value)
    except ValueError:  # integers of thousands of digits
        told = "an integer of very many digits"
    return told if len(told) <= 40 else f"{told[:37]}..."


def _factor_below_one(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        factor = one.number("factor")
        if factor is None or not 0 < factor < 1 or one.rope_type == "default":
            continue
        yield Symptom(
            seen=f"{one.where}.factor is {factor:g}",
            consequence=f"Below 1 it makes every scaled pair {1 / factor:.3g}× faster: the usable context shrinks to "
            f"{factor:.3g} of what was trained. Somebody has written 1/factor.",
            mend=f"set {one.where}.factor to {1 / factor:g}",
            evidence={"factor": factor, "ratio": 1 / factor},
        )


def _contradicting(facts: Facts) -> Iterator[Symptom]:
    newer, older = facts.config.get("rope_parameters"), facts.config.get("rope_scaling")
    if not isinstance(newer, Mapping) or not isinstance(older, Mapping) or not newer or not older:
        return
    keys = sorted((newer.keys() | older.keys()) - {"type", "rope_type", "rope_theta"})
    differ = [key for key in keys if newer.get(key) != older.get(key)]
    kinds = [str(one.get("rope_type") or one.get("type") or "default") for one in (newer, older)]
    if differ or kinds[0] != kinds[1]:
        yield Symptom(
            seen="config.json has both rope_parameters and the older rope_scaling, and they differ in "
            f"{', '.join(map(str, differ)) or f'rope_type ({kinds[0]} and {kinds[1]})'}",
            consequence=f"Transformers reads rope_scaling ({kinds[1]}) and drops rope_parameters ({kinds[0]}); an "
            "engine that reads rope_parameters computes other frequencies.",
            mend="remove the one that is not meant from config.json",
            evidence={"rope_parameters": kinds[0], "rope_scaling": kinds[1]},
        )


def _nested_truncate(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        if one.layer_type is None or one.rope_type != "yarn" or not isinstance(one.said.get("truncate"), bool):
            continue
        factor, rope = one.number("factor"), plain_rope(facts, one)
        if one.said["truncate"] or factor is None or factor < 1 or rope is None:
            continue  # true is what is taken
        tables = [tabled(partial(YaRN, factor, truncate=cut), rope) for cut in (True, False)]
        change = widest_change(*(t.inv_freq for t in tables if t is not None)) if all(tables) else None
        yield Symptom(
            seen=f"{one.where} has truncate false",
            consequence="Transformers looks for truncate beside the layer types, not inside them, and takes true"
            + ("." if change is None else f": frequencies are off by up to {change.told}."),
            mend=f"patch the model instead, which writes what Transformers reads: patch_model(model, "
            f"YaRN({factor:g}, truncate=False), on_scaled='replace')",
            evidence={} if change is None else {"ratio": change.ratio, "pair": change.pair},
        )


RULES = (
    Rule(
        "unknown-type",
        Severity.ERROR,
        "A `rope_type` that Transformers has no function for.",
        "Nothing is scaled: the model is not made at all.",
        _unknown_type,
    ),
    Rule(
        "missing-key",
        Severity.ERROR,
        "A key that the `rope_type` needs is missing.",
        "Transformers stops with a KeyError; SGLang warns and goes on with factor 1.",
        _missing_key,
    ),
    Rule(
        "bad-number",
        Severity.ERROR,
        "A number that is none, or not above 0.",
        "Engines stop, or compute NaN.",
        _bad_number,
    ),
    Rule(
        "factor-below-one",
        Severity.ERROR,
        "A factor below 1.",
        "It compresses instead of extending: somebody has written 1/factor. Transformers only logs a warning.",
        _factor_below_one,
    ),
    Rule(
        "two-dicts",
        Severity.ERROR,
        "`rope_parameters` and the older `rope_scaling` contradict each other.",
        "Transformers takes `rope_scaling` where both are there.",
        _contradicting,
    ),
    Rule(
        "nested-truncate",
        Severity.WARNING,
        "`truncate` inside the entry of one layer type.",
        "`_compute_yarn_parameters` reads it from `config.rope_parameters`, where a nested dict has none.",
        _nested_truncate,
    ),
)
