"""Whether a live model is what its config says, so that a patch starts from the truth."""

from __future__ import annotations

import warnings

import torch
from transformers import PreTrainedConfig

from rope_scaling.patches.discover import RotarySite, frequency_buffers
from rope_scaling.patches.state import native_state

_ROUNDED = 2.0**-8
"""Relative: bfloat16 keeps 8 bits, so its rounding stays within half of this."""
_HALF_STEP = 6e-8
"""Absolute: float16's step near 0."""
_EXACT = 1e-6
"""Relative: what two devices may differ by in float32."""
_CHANGE_WHILE_RUNNING = ("dynamic", "longrope")
"""Types of RoPE whose module writes into its buffer as it runs."""


def check_frequencies(site: RotarySite) -> None:
    """ValueError unless a module's frequencies are those that its config gives, up to rounding.

    They are not where `config.rope_parameters` was set after loading, which does nothing before the model is saved and
    loaded again, or where something else has patched the module.
    """
    rope_type = getattr(site.module, "rope_type", "default")
    expected = native_state(type(site.module), site.config)
    for name in frequency_buffers(site.module):
        live = site.module.get_buffer(name)
        if live.is_meta or rope_type in _CHANGE_WHILE_RUNNING:  # without numbers there is nothing to be wrong
            continue
        meant = expected.buffers.get(name)
        if meant is None or meant.shape != live.shape or not _close(live, meant, _ROUNDED):
            raise ValueError(
                f"{site.name}.{name} does not hold the frequencies that its config gives: rope_parameters was "
                "edited after loading, the config is shared with a patched model, another library patched this one, or "
                "to_empty left it without numbers; load the model again (editing config.rope_parameters of a loaded "
                "model does nothing), or patch on the meta device, before to_empty"
            )


def rounded_buffers(sites: list[RotarySite]) -> list[str]:
    """Frequency buffers that a cast of the model has rounded, now or before it was cast back, by name."""
    return [
        f"{site.name}.{name}"
        for site in sites
        if getattr(site.module, "rope_type", "default") not in _CHANGE_WHILE_RUNNING
        for name, meant in native_state(type(site.module), site.config).buffers.items()
        if name in frequency_buffers(site.module) and _rounded(site.module.get_buffer(name), meant)
    ]


def warn_of_rounded(sites: list[RotarySite]) -> None:
    """Warn where a patch will also mend frequencies that a cast has rounded: it then changes short texts as well."""
    rounded = rounded_buffers(sites)
    if rounded:
        warnings.warn(
            f"{', '.join(rounded)} had been rounded by a cast of the model (model.to(dtype), half(), bfloat16()); the "
            "patch takes exact frequencies from the config instead, and keeps them in float32",
            UserWarning,
            stacklevel=4,  # the caller of `patch_model`
        )


def model_configs(sites: list[RotarySite]) -> list[PreTrainedConfig]:
    """The distinct config objects that rotary modules read."""
    return list({id(site.config): site.config for site in sites}.values())


def _rounded(live: torch.Tensor, meant: torch.Tensor) -> bool:
    if live.is_meta or live.shape != meant.shape:
        return False
    return _close(live, meant, _ROUNDED) and not _close(live, meant, _EXACT)


def _close(live: torch.Tensor, meant: torch.Tensor, tolerance: float) -> bool:
    slack = _HALF_STEP if tolerance == _ROUNDED else 0.0
    return bool(torch.allclose(live.to("cpu", torch.float32), meant.to("cpu"), rtol=tolerance, atol=slack))
