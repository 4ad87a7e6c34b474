"""Rules about what cos and sin are multiplied with, and about options of yarn that engines read differently."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from rope_scaling.doctor.engines import TRANSFORMERS, attention_factors
from rope_scaling.doctor.facts import Facts, Parameters
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.ropes import plain_rope, tabled, widest_change
from rope_scaling.schemes import YaRN

_SAME = 1e-4
"""Two factors that differ by less give logits that differ by less than bfloat16 holds."""


def _factor(one: Parameters) -> float | None:
    factor = one.number("factor")
    return factor if one.rope_type == "yarn" and factor is not None and factor > 1 else None


def _attention_factor(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        factor = _factor(one)
        keys = [key for key in ("attention_factor", "attn_factor") if one.number(key)]
        if factor is None or not keys:
            continue
        computed = attention_factors(facts, one, factor)
        if _spread(computed) <= _SAME:
            continue
        yield Symptom(
            seen=f"{one.where} sets {' and '.join(f'{key} {one.number(key):g}' for key in keys)} for factor {factor:g}",
            consequence=_told(computed),
            mend="leave it out where 0.1 ln(factor) + 1 is meant; else serve the checkpoint with an engine that reads "
            "it as it was trained",
            evidence=dict(computed),
            engines={name: f"multiplies cos and sin by {value:.4g}" for name, value in computed.items()},
        )


def _mscale(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        factor = _factor(one)
        mscale, all_dim = one.number("mscale"), one.number("mscale_all_dim")
        if factor is None or bool(mscale) == bool(all_dim) or one.number("attention_factor"):
            continue
        computed = attention_factors(facts, one, factor)
        if _spread(computed) <= _SAME:
            continue
        lone = f"mscale {mscale:g} and no mscale_all_dim" if mscale else f"mscale_all_dim {all_dim:g} and no mscale"
        yield Symptom(
            seen=f"{one.where} has {lone} for factor {factor:g}",
            consequence=_told(computed),
            mend=f"write both, as the model was trained; or write {one.where}.attention_factor "
            f"{computed[TRANSFORMERS]:.6g} for what Transformers computes now",
            evidence=dict(computed),
            engines={name: f"multiplies cos and sin by {value:.4g}" for name, value in computed.items()},
        )


def _spread(computed: dict[str, float]) -> float:
    return max(computed.values()) / min(computed.values()) - 1 if min(computed.values()) > 0 else 1.0


def _told(computed: dict[str, float]) -> str:
    most, least = (choose(computed, key=computed.__getitem__) for choose in (max, min))
    logits = (computed[most] / computed[least]) ** 2
    return (
        f"Engines multiply cos and sin by {computed[least]:.4g} ({least}) to {computed[most]:.4g} ({most}): their "
        f"attention logits differ by {logits:.3g}×."
    )


def _yarn_options(facts: Facts) -> Iterator[Symptom]:
    for one in facts.parameters:
        factor, rope = _factor(one), plain_rope(facts, one)
        if factor is None or rope is None:
            continue
        said: dict[str, Any] = {
            "beta_fast": one.number("beta_fast") or 32.0,
            "beta_slow": one.number("beta_slow") or 1.0,
            "truncate": one.said.get("truncate") is not False,
        }
        usual = {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}
        changed = [key for key in said if said[key] != usual[key]]
        if not changed or said["beta_fast"] <= said["beta_slow"]:
            continue
        meant, taken = (tabled(partial(YaRN, factor, **options), rope) for options in (said, {}))
        if meant is None or taken is None:
            continue
        change = widest_change(meant.inv_freq, taken.inv_freq)
        yield Symptom(
            seen=f"{one.where} sets {', '.join(f'{key} {said[key]}' for key in changed)}",
            consequence=f"Engines that take the usual 32, 1 and true compute frequencies up to {change.told} off.",
            mend="nothing, for an engine that reads them; for another one leave the model as it was trained",
            evidence={"ratio": change.ratio, "pair": change.pair},
            engines={
                "transformers": "reads them",
                "vllm": "reads them",
                "sglang": "reads them",
                "tgi": "takes 32, 1 and true, whatever is written",
                "llama.cpp": "rounds the ramp's ends always; reads the betas from the file for mistral3 and grok only",
            },
        )


RULES = (
    Rule(
        "attention-factor",
        Severity.WARNING,
        "An `attention_factor` or `attn_factor` that some engines multiply, some replace and some ignore.",
        "Transformers and today's vLLM replace 0.1 ln s + 1 by `attention_factor`; SGLang and TGI never read it. "
        "SGLang and older vLLM multiply by `attn_factor`, which Transformers never reads. llama.cpp's loader makes its "
        "own.",
        _attention_factor,
    ),
    Rule(
        "mscale-alone",
        Severity.WARNING,
        "DeepSeek's `mscale` without `mscale_all_dim`, or the other way round.",
        "Transformers ignores one without the other and takes 0.1 ln s + 1. The DeepSeek classes of vLLM and SGLang, "
        "and TGI, take 1 for a missing `mscale` and 0 for a missing `mscale_all_dim`: for mscale 0.707 and factor 40 "
        "that is 1.26 instead of 1.37.",
        _mscale,
    ),
    Rule(
        "yarn-options",
        Severity.NOTE,
        "`beta_fast`, `beta_slow` or `truncate` other than 32, 1 and true.",
        "TGI ignores all three; llama.cpp always rounds and reads the betas for two architectures only.",
        _yarn_options,
    ),
)
