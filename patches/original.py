"""What a rotary module was before any patch, made here or before its checkpoint was saved."""

from __future__ import annotations

from transformers import PreTrainedConfig

from rope_scaling.patches.discover import RotarySite
from rope_scaling.patches.state import ORIGINAL, RotaryState, native_state, read_state, with_numbers
from rope_scaling.record import read_record


def is_reloaded(sites: list[RotarySite]) -> bool:
    """Whether a model was patched before it was saved, and not since it was loaded."""
    return any(read_record(s.config) for s in sites) and not any(ORIGINAL in vars(s.module) for s in sites)


def original_state(site: RotarySite, base: PreTrainedConfig) -> RotaryState:
    """The state of a module before any patch, whether it was patched here or came so from a checkpoint."""
    held: RotaryState | None = vars(site.module).get(ORIGINAL)
    if held is not None:
        return held
    native = native_state(type(site.module), base)
    if read_record(site.config) is not None:
        return native
    return with_numbers(read_state(site.module, set(native.attributes)), site.config)
