"""Rules about the lengths that a config declares and the factor between them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from rope_scaling.doctor.engines import served_lengths
from rope_scaling.doctor.facts import Facts, Parameters
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.ropes import plain_rope, tabled, widest_change
from rope_scaling.schemes import Dynamic, Llama3, YaRN

_NEED_ORIGINAL = ("yarn", "llama3", "longrope")


def _max_length_factor(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        factor, original, declared = one.number("factor"), facts.original(one), facts.max_length
        if one.rope_type not in ("yarn", "longrope", "linear") or not factor or not original or not declared:
            continue
        ratio = declared / original
        if math.isclose(factor, ratio, rel_tol=0.01) or factor < 1 or ratio < 1:
            continue
        lengths = served_lengths(facts, one)
        yield Symptom(
            seen=f"{one.where} says factor {factor:g}; max_position_embeddings {declared} is {ratio:g} times "
            f"original_max_position_embeddings {original}",
            consequence=_promised(factor, ratio, declared, original),
            mend=f"set max_position_embeddings to {int(factor * original)} or {one.where}.factor to {ratio:g}"
            + ("" if one.rope_type == "longrope" else _anew(facts, one, declared)),
            evidence={"factor": factor, "ratio": ratio, **{f"length in {k}": n for k, n in lengths.items()}},
            engines={name: f"serves {length} tokens" for name, length in lengths.items()},
        )


def _anew(facts: Facts, one: Parameters, declared: int) -> str:
    return (
        f"; or write it anew: rope-scaling extend {facts.source} --scheme {one.rope_type} --max-length {declared} "
        "--on-scaled replace -o OUT"
    )


def _promised(factor: float, ratio: float, declared: int, original: int) -> str:
    if ratio > factor:
        return (
            f"The frequencies are made for {int(factor * original)} tokens. At {declared} the interpolated pairs stand "
            f"at {ratio / factor:.3g} times the largest angle that was trained."
        )
    return (
        f"The frequencies are squeezed for {int(factor * original)} tokens, {factor / ratio:.3g} times as many as the "
        f"config lets anybody use: short texts pay for a length that Transformers and SGLang do not serve."
    )


def _without_original(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        if one.rope_type not in _NEED_ORIGINAL or not one.said or facts.original(one) is not None:
            continue
        yield Symptom(
            seen=f"{one.where} has rope_type {one.rope_type!r} and no original_max_position_embeddings",
            consequence=_off_without_original(facts, one),
            mend=f"set {one.where}.original_max_position_embeddings to the length that was trained before scaling",
            evidence=_numbers_without_original(facts, one),
            engines={
                "transformers": "takes max_position_embeddings for it",
                "vllm": "under Transformers 5 as Transformers, and for yarn serves factor times as many tokens; under "
                "Transformers 4 stops with a KeyError",
                "sglang": "takes max_position_embeddings for it, and for yarn also multiplies the length by factor",
                "llama.cpp": "its converter stops with a KeyError under yarn",
            },
        )


def _off_without_original(facts: Facts, one: Parameters) -> str:
    numbers = _numbers_without_original(facts, one)
    if "ratio" not in numbers:
        return "Which length was trained cannot be told from the config; engines guess it or stop."
    return (
        f"Where max_position_embeddings was raised to {facts.max_length}, the length that was trained is "
        f"{numbers['if trained to']}, and the frequencies are off by up to {numbers['ratio']:.3g}× at pair "
        f"{numbers['pair']}."
    )


def _numbers_without_original(facts: Facts, one: Parameters) -> dict[str, int | float]:
    """How far off the frequencies are if the declared length is the raised one."""
    factor, declared = one.number("factor"), facts.max_length
    if factor is None or factor <= 1 or declared is None or declared / factor < 2:
        return {}
    trained = int(declared / factor)
    tables = []
    for length in (declared, trained):
        rope = plain_rope(facts, one, length)
        made = None if rope is None else tabled(lambda: _scheme(one, factor), rope)
        if made is None:
            return {}
        tables.append(made.inv_freq)
    change = widest_change(*tables)
    return {"if trained to": trained, "ratio": change.ratio, "pair": change.pair}


def _scheme(one: Parameters, factor: float) -> YaRN | Llama3:
    if one.rope_type == "llama3":
        return Llama3(factor, one.number("low_freq_factor") or 1.0, one.number("high_freq_factor") or 4.0)
    return YaRN(factor)


def _silenced_dynamic(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        declared, original, factor = facts.max_length, facts.original(one), one.number("factor")
        if one.rope_type != "dynamic" or not declared or not original or declared <= original:
            continue
        rope = plain_rope(facts, one, original)
        made = None if rope is None or factor is None else tabled(partial(Dynamic, factor), rope, declared)
        off = "" if rope is None or made is None else f" by up to {widest_change(made.inv_freq, rope.inv_freq).told}"
        yield Symptom(
            seen=f"{one.where} has rope_type 'dynamic', trained to {original}, and max_position_embeddings {declared}",
            consequence="`dynamic` scales only past max_position_embeddings, so nothing is scaled between "
            f"{original} and {declared} tokens: there the frequencies are too fast{off}.",
            mend=f"set max_position_embeddings back to {original}; or use a scheme that does not depend on the length: "
            f"rope-scaling extend {facts.source} --scheme yarn --max-length {declared} --on-scaled replace "
            f"--original-max-length {original} -o OUT",
            evidence={"max_position_embeddings": declared, "original_max_position_embeddings": original},
        )


def _below_original(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        declared, original = facts.max_length, facts.original(one)
        if declared and original and declared < original:
            yield Symptom(
                seen=f"original_max_position_embeddings {original} is more than max_position_embeddings {declared}",
                consequence=f"The config says that {original} tokens were trained and that {declared} may be used; "
                "a factor taken from the two would be less than 1.",
                mend=f"set original_max_position_embeddings to the trained length, or max_position_embeddings to "
                f"{original} or more",
                evidence={"ratio": declared / original},
            )


def _ambiguous_length(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        if one.rope_type not in ("linear", "dynamic") or facts.original(one) is not None:
            continue
        lengths = served_lengths(facts, one)
        if len(set(lengths.values())) > 1:
            yield Symptom(
                seen=f"{one.where} has a factor and no original_max_position_embeddings, so max_position_embeddings "
                f"{facts.max_length} may be the length before scaling or after it",
                consequence=f"Engines decide differently: from {min(lengths.values())} to {max(lengths.values())} "
                "tokens are served.",
                mend="give the engine its length: vllm serve --max-model-len N, sglang --context-length N",
                evidence={f"length in {k}": n for k, n in lengths.items()},
                engines={name: f"serves {length} tokens" for name, length in lengths.items()},
            )


RULES = (
    Rule(
        "max-length-factor",
        Severity.WARNING,
        "The factor is not the ratio of the declared and the trained length.",
        "Transformers computes the frequencies from `factor` and serves `max_position_embeddings`; vLLM serves "
        "`original_max_position_embeddings` × `factor` for yarn and ignores `max_position_embeddings`; SGLang serves "
        "`max_position_embeddings`.",
        _max_length_factor,
    ),
    Rule(
        "scaled-without-original",
        Severity.ERROR,
        "yarn, llama3 or longrope without `original_max_position_embeddings`.",
        "Its ramp is laid over the trained length. Where that is missing, Transformers takes `max_position_embeddings` "
        "for it, and if that was raised, the frequencies are up to several times off.",
        _without_original,
    ),
    Rule(
        "dynamic-silenced",
        Severity.WARNING,
        "`dynamic` beside a raised `max_position_embeddings`.",
        "Transformers' `dynamic` starts at `max_position_embeddings` and reads no other length. Raising it switches "
        "the scaling off up to there.",
        _silenced_dynamic,
    ),
    Rule(
        "original-above-max",
        Severity.WARNING,
        "The trained length is more than the declared one.",
        "One of the two is wrong, and every factor taken from them is.",
        _below_original,
    ),
    Rule(
        "length-ambiguous",
        Severity.NOTE,
        "linear or dynamic without `original_max_position_embeddings`: engines serve different lengths.",
        "vLLM and SGLang multiply `max_position_embeddings` by `factor`, Transformers does not. vLLM makes an "
        "exception of Gemma 3.",
        _ambiguous_length,
    ),
)
