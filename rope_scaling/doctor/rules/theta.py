"""Rules about theta: said where nothing reads it, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

from rope_scaling.doctor.facts import Facts, number
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.ropes import plain_rope, widest_change
from rope_scaling.rope import plain_inv_freq


def _theta_ignored(facts: Facts) -> Iterator[Symptom]:
    top = number(facts.config.get("rope_theta"))
    for one in facts.parameters:
        inner = one.number("rope_theta")
        if top is None or inner is None or top == inner or one.layer_type is not None or min(top, inner) <= 1:
            continue
        rope = plain_rope(facts, one)
        tables = [] if rope is None else [plain_inv_freq(theta, rope.rotary_dim) for theta in (top, inner)]
        off = f", up to {widest_change(*tables).told}" if tables else ""
        yield Symptom(
            seen=f"config.json has rope_theta {top:g}, and {one.where} has rope_theta {inner:g}",
            consequence=f"The one beside {one.where} is ignored by Transformers. If it was meant, every frequency but "
            f"the first is off{off}.",
            mend=f"write the theta that is meant into {one.where}.rope_theta and remove the other",
            evidence={"rope_theta": top, f"{one.where}.rope_theta": inner},
        )


def _no_theta(facts: Facts) -> Iterator[Symptom]:
    default = number(getattr(facts.resolved, "default_theta", None))
    for one in facts.parameters:
        if one.said.get("rope_theta") is not None or facts.config.get("rope_theta") is not None:
            continue
        null = "rope_theta" in one.said or "rope_theta" in facts.config
        scaled = one.rope_type != "default"
        if null and (scaled or one.said):
            yield Symptom(
                seen=f"rope_theta is null beside {one.where}",
                consequence="Transformers 5 moves the null into rope_parameters and then raises a TypeError, None to a "
                "power, when the model is made.",
                mend="set rope_theta to the theta that was trained, 10000 for a first-generation Llama",
                evidence={"rope_theta": None},
            )
        elif default is not None and default != 1e4:
            ratio = max(default, 1e4) / min(default, 1e4)
            yield Symptom(
                seen=f"config.json has no rope_theta; Transformers' class for {facts.model_type} says {default:g}",
                consequence="llama.cpp, and engines that read the file themselves, take 10000 where there is none: the "
                f"slowest pair then is up to {ratio:.3g}× off.",
                mend=f"write rope_theta {default:g} into config.json",
                evidence={"default_theta": default},
                severity=Severity.NOTE,
            )


RULES = (
    Rule(
        "theta-ignored",
        Severity.WARNING,
        "`rope_theta` set where it is not read.",
        "Transformers 5 reads `rope_parameters.rope_theta`; a `rope_theta` beside it counts only where that is "
        "missing. An edit of the outer one changes nothing.",
        _theta_ignored,
    ),
    Rule(
        "theta-missing",
        Severity.ERROR,
        "No theta: null beside a legacy `rope_scaling`, or left to the architecture's default.",
        "A null stays None in Transformers 5. Where the key is missing, Transformers takes the architecture's default "
        "and llama.cpp 10000; where these differ, that is a note.",
        _no_theta,
    ),
)
