"""The doctor: what is wrong with a checkpoint's RoPE, with numbers, and what mends it."""

from rope_scaling.doctor.examine import examine, facts_of, facts_of_config, worst
from rope_scaling.doctor.facts import Facts
from rope_scaling.doctor.finding import Finding, Severity
from rope_scaling.doctor.rules import RULES

__all__ = ["RULES", "Facts", "Finding", "Severity", "examine", "facts_of", "facts_of_config", "worst"]
