"""Rules about frequencies inside weight files and in a loaded model, against those of the config."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rope_scaling.doctor.facts import Facts
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.ropes import Change, declared_ropes, plain_rope, widest_change
from rope_scaling.rope import Rope, plain_inv_freq

_ROUNDING = {"BF16": 2**-7, "F16": 2**-9}
"""More than rounding to nearest can move a value, as a ratio."""
_TRUST = 1e-3


def _saved(facts: Facts) -> Iterator[Symptom]:
    if not facts.tensors.inv_freq:
        return
    plain = [plain_rope(facts, one) for one in facts.parameters]
    ropes = [rope for rope in [*plain, *declared_ropes(facts).values()] if isinstance(rope, Rope)]
    tables = [rope.inv_freq for rope in ropes]
    for name, values in facts.tensors.inv_freq.items():
        near = [widest_change(values, table) for table in tables if len(table) == len(values)]
        slack = 1 + max(_ROUNDING.get(facts.tensors.dtypes.get(name, ""), 0.0), _TRUST)
        if not tables or "vis" in name or any(change.ratio <= slack for change in near):
            continue
        yield _disagreeing(name, values, min(near, key=lambda change: change.ratio) if near else None, len(tables[0]))
        return  # one layer tells it for all


def _disagreeing(name: str, values: tuple[float, ...], change: Change | None, pairs: int) -> Symptom:
    theta = _theta_of(values)
    off = f"in number: {len(values)} pairs, not {pairs}" if change is None else f"by up to {change.told}"
    return Symptom(
        seen=f"{name} in the weight files holds other frequencies than the config gives"
        + ("" if theta is None else f" (those of theta {theta:.6g})"),
        consequence=f"They differ {off}. The weights were trained with what is stored there, or somebody edited one of "
        "the two. Transformers computes from the config and drops the tensor; loaders that read it (TGI's "
        "PositionRotaryEmbedding.load) rotate otherwise.",
        mend="set rope_theta and the scaling to what the model was trained with; then remove the tensors (save the "
        "model once with Transformers)",
        evidence={
            "tensor": name,
            "pairs": len(values),
            "theta": theta,
            "ratio": None if change is None else change.ratio,
            "pair": None if change is None else change.pair,
        },
    )


def _theta_of(values: tuple[float, ...]) -> float | None:
    """The theta whose plain frequencies these are, if they are any's."""
    if len(values) < 2 or not 0 < values[-1] < values[0] or not math.isclose(values[0], 1.0, rel_tol=0.01):
        return None
    dim = 2 * len(values)
    try:
        theta = values[-1] ** (-dim / (dim - 2))
    except OverflowError:
        return None
    return theta if widest_change(values, plain_inv_freq(theta, dim)).ratio < 1.02 else None


def _rounded(facts: Facts) -> Iterator[Symptom]:
    if facts.live is None:
        return
    for name, values in facts.live.inv_freq.items():
        expected = facts.live.expected.get(name)
        if facts.live.dtypes.get(name) in ("float32", "float64") or expected is None or len(expected) != len(values):
            continue
        length = facts.wished or facts.max_length or 1
        turns = max(abs(a - b) for a, b in zip(values, expected, strict=True)) * length / (2 * math.pi)
        yield Symptom(
            seen=f"{name} of the loaded model is {facts.live.dtypes.get(name)}",
            consequence=f"A cast has rounded the frequencies: at position {length} angles are off by up to "
            f"{turns:.3g} turns.",
            mend="load with dtype= instead of casting; patch_model(model, 'none') makes them exact again",
            evidence={"turns": turns, "length": length},
        )


def _replaced(facts: Facts) -> Iterator[Symptom]:
    if facts.live is None:
        return
    for name, values in facts.live.inv_freq.items():
        expected = facts.live.expected.get(name)
        if expected is None:
            continue
        slack = 1 + (_TRUST if facts.live.dtypes.get(name) in ("float32", "float64") else 2**-7)
        change = widest_change(values, expected)
        if change.ratio > slack or len(values) != len(expected):
            yield Symptom(
                seen=f"{name} of the loaded model holds other frequencies than its config gives",
                consequence=f"They differ by up to {change.told}. A config edited after loading changes nothing until "
                "the model is saved and loaded again; then the model changes.",
                mend="patch_model sets both; or load the model anew",
                evidence={"ratio": change.ratio, "pair": change.pair},
            )


RULES = (
    Rule(
        "inv-freq-in-weights",
        Severity.WARNING,
        "Frequency tensors inside the weight files disagree with the config.",
        "Checkpoints of 2023 have `rotary_emb.inv_freq` in every layer: what the model was trained with. Read from "
        "safetensors only; pickles are not opened.",
        _saved,
    ),
    Rule(
        "rounded-frequencies",
        Severity.WARNING,
        "A loaded model's frequencies are bfloat16 or float16.",
        "`model.to(torch.bfloat16)` and `.half()` cast buffers too. Only `inspect_model` sees it.",
        _rounded,
    ),
    Rule(
        "live-frequencies",
        Severity.ERROR,
        "A loaded model rotates with other frequencies than its config gives.",
        "Transformers reads the config once, when it makes the model. Only `inspect_model` sees it.",
        _replaced,
    ),
)
