"""Rules about frequencies that change with the length of a sequence: longrope's lists, and caches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from rope_scaling.doctor.facts import Facts, Parameters, number
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.ropes import plain_rope, tabled, widest_change
from rope_scaling.schemes import Dynamic

_LONGROPE = ("longrope", "su")
_LISTS = ("short_factor", "long_factor")


def _lists(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        if one.rope_type not in _LONGROPE:
            continue
        rope = plain_rope(facts, one)
        pairs = None if rope is None else len(rope.inv_freq)
        for key in _LISTS:
            values = one.said.get(key)
            if values is None:
                continue  # missing-key says so
            wrong = _wrong_list(values, pairs)
            if wrong is not None:
                yield Symptom(
                    seen=f"{one.where}.{key} {wrong}",
                    consequence="Transformers only logs a warning when it reads the config. It stops when the model "
                    "is made (short_factor) or at the first forward (long_factor), where frequencies and divisors do "
                    "not fit; a divisor of 0 or below makes NaN or turns backwards.",
                    mend=f"take {key} from the checkpoint that was published; rotary_dim is head_dim × "
                    "partial_rotary_factor",
                    evidence={"pairs": pairs, "divisors": len(values) if isinstance(values, list) else None},
                )


def _wrong_list(values: object, pairs: int | None) -> str | None:
    if not isinstance(values, list):
        return f"is no list but {type(values).__name__}"
    bad = sum((found := number(value)) is None or found <= 0 for value in values)
    if bad:
        return f"has {bad} entries that are no finite number above 0"
    if pairs is not None and len(values) != pairs:
        return f"has {len(values)} divisors for rotary_dim / 2 = {pairs} pairs"
    return None


def _cache(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        if one.rope_type in _LONGROPE:
            yield from _switching(facts, one)
        elif one.rope_type == "dynamic":
            yield from _growing(facts, one)


def _switching(facts: Facts, one: Parameters) -> Iterator[Symptom]:
    rope, (short, long) = plain_rope(facts, one), (one.said.get(key) for key in _LISTS)
    if rope is None or short == long or any(_wrong_list(x, len(rope.inv_freq)) for x in (short, long)):
        return
    assert isinstance(short, list)
    assert isinstance(long, list)
    before, after = (tuple(f / x for f, x in zip(rope.inv_freq, lists, strict=True)) for lists in (short, long))
    length = rope.original_max_position_embeddings
    turned = max(abs(a - b) for a, b in zip(before, after, strict=True)) * length / (2 * math.pi)
    yield Symptom(
        seen=f"{one.where} has two lists of divisors and switches between them at {length} tokens",
        consequence=f"Keys cached before the switch stay rotated by short_factor: at position {length} up to "
        f"{turned:.3g} turns from where long_factor puts them (frequencies differ by up to "
        f"{widest_change(before, after).told}). A text that crosses {length} tokens while generating degrades.",
        mend=f"generate past {length} tokens only from a prompt that is longer already, or with an engine that takes "
        "one list for all",
        evidence={"turns": turned, "original_max_position_embeddings": length},
        engines={
            "transformers": "switches in the middle of a sequence",
            "vllm": "takes one list for all: long_factor where --max-model-len is above it, else short_factor",
            "tgi": "takes short_factor for positions below and long_factor for those above",
        },
    )


def _growing(facts: Facts, one: Parameters) -> Iterator[Symptom]:
    rope, factor = plain_rope(facts, one, facts.max_length), one.number("factor")
    if rope is None or factor is None or factor < 1:
        return
    length = rope.original_max_position_embeddings
    made = tabled(partial(Dynamic, factor), rope, 2 * length)
    off = "" if made is None else f" By {2 * length} tokens the slowest frequencies have moved "
    off += "" if made is None else f"{widest_change(made.inv_freq, rope.inv_freq).told}."
    yield Symptom(
        seen=f"{one.where} has rope_type 'dynamic'",
        consequence="Past max_position_embeddings every new token changes all frequencies, and keys that are cached "
        f"keep those they were written under: a text that grows past {length} tokens degrades.{off}",
        mend=f"use a scheme with one table: rope-scaling extend {facts.source} --scheme ntk --factor {factor:g} "
        "--on-scaled replace -o OUT",
        evidence={"factor": factor, "max_position_embeddings": length},
        engines={"transformers": "recomputes as the text grows", "vllm": "computes one table for factor × length"},
    )


RULES = (
    Rule(
        "longrope-lists",
        Severity.ERROR,
        "longrope's lists do not hold one divisor above 0 for every pair.",
        "Transformers logs a warning and fails when the model is made or at its first forward.",
        _lists,
    ),
    Rule(
        "cache-crosses-switch",
        Severity.NOTE,
        "dynamic, or longrope with two lists, together with a KV cache.",
        "Keys lie rotated in the cache; when the frequencies change, those that are there do not. Released Phi-3 "
        "checkpoints are so.",
        _cache,
    ),
)
