"""DeepSeek's `mscale_all_dim`: a temperature that its family of architectures multiplies into the softmax scale."""

from __future__ import annotations

import math

from rope_scaling.fields import positive
from rope_scaling.schemes import RopeParameters, Scheme, YaRN
from rope_scaling.schemes.yarn import yarn_attention_factor

MSCALE_KEYS = ("mscale", "mscale_all_dim")


def declared_temperature(parameters: RopeParameters) -> float:
    """What such an architecture multiplies into queries, and into keys once more, for these `rope_parameters`."""
    if parameters.get("rope_type", "default") == "default" or not parameters.get("factor"):
        return 1.0
    return _temperature(parameters, positive("factor", parameters["factor"]))


def asked_temperature(scheme: Scheme, parameters: RopeParameters, factor: float) -> float:
    """The same for a scheme: YaRN alone has a temperature, where the config says how much of it."""
    return _temperature(parameters, factor) if isinstance(scheme, YaRN) else 1.0


def factor_of_temperature(parameters: RopeParameters, temperature: float) -> float:
    """The `factor` for which an architecture computes this temperature."""
    weight = positive("mscale_all_dim", parameters["mscale_all_dim"])
    return math.exp((temperature - 1.0) / (0.1 * weight))


def _temperature(parameters: RopeParameters, factor: float) -> float:
    weight = parameters.get("mscale_all_dim")
    return yarn_attention_factor(factor, positive("mscale_all_dim", weight)) if weight else 1.0
