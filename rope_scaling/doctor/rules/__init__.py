"""All rules of the doctor, in the order in which they are told."""

from __future__ import annotations

from rope_scaling.doctor.finding import Rule
from rope_scaling.doctor.rules import (
    by_length,
    files,
    gguf,
    lengths,
    limits,
    parameters,
    shapes,
    temperature,
    theta,
    twice,
)
from rope_scaling.doctor.rules import weights as weight_rules

RULES: tuple[Rule, ...] = (
    *parameters.RULES,
    *theta.RULES,
    *lengths.RULES,
    *temperature.RULES,
    *by_length.RULES,
    *twice.RULES,
    *shapes.RULES,
    *limits.RULES,
    *weight_rules.RULES,
    *gguf.RULES,
    *files.RULES,
)
