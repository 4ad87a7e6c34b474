"""A checkpoint's model as Transformers makes it without weights, and whether a written folder gives the same one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from rope_scaling.patches.discover import RotarySite, attention_scaling, find_rotary, frequency_buffers
from rope_scaling.patches.side_state import SIDE, side_changes
from rope_scaling.patches.state import fresh_module
from rope_scaling.record import RECORD

_NOT_ROPE = {"_name_or_path", "transformers_version", RECORD}
_OLDER = {"rope_theta", "rotary_emb_base", "partial_rotary_factor", "rope_scaling"}
"""Said again beside `rope_parameters` for older engines; that the modules rotate alike is what proves them."""
_EXACT = 1e-6


def make_skeleton(folder: Path, trust_remote_code: bool) -> PreTrainedModel:
    """The model of a folder's config as Transformers makes it, on the meta device.

    Raises:
        ValueError: Transformers makes none of it.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        remote = trust_remote_code and getattr(config, "auto_map", None)
        named = getattr(transformers, next(iter(config.architectures or []), ""), None)
        with torch.device("meta"):
            if isinstance(named, type) and issubclass(named, PreTrainedModel) and not remote:
                from_class: Any = named._from_config
                return cast("PreTrainedModel", from_class(config))
            from_config: Any = AutoModelForCausalLM.from_config
            return cast("PreTrainedModel", from_config(config, trust_remote_code=trust_remote_code))
    except Exception as error:  # whatever a config file makes it raise
        told = " ".join(str(error).split())
        raise ValueError(f"Transformers makes no model of config.json ({type(error).__name__}: {told})") from error


def prove_folder(patched: PreTrainedModel, folder: Path, trust_remote_code: bool) -> None:
    """ValueError unless Transformers makes from a folder the model that the patch made, and nothing else changed."""
    made = make_skeleton(folder, trust_remote_code)
    differ = _differences(saved_config(patched.config), saved_config(made.config))
    if differ:
        told = ", ".join(differ[:4])
        raise ValueError(f"the written config.json is not read as it was meant ({told}); nothing was kept")
    sites = find_rotary(patched)
    read = {site.name: site for site in find_rotary(made)}
    for site in sites:
        if not _rotates_alike(site, read[site.name]):
            raise ValueError(f"{site.name} of the written checkpoint would rotate otherwise; nothing was kept")
    live: dict[str, nn.Module] = dict(patched.named_modules())
    new: dict[str, nn.Module] = dict(made.named_modules())
    side = side_changes(live, new, {site.name for site in sites})
    changed = [change for change in side if change.name not in (SIDE, "name_or_path")]
    if changed:
        raise ValueError(f"the written checkpoint would differ in {changed[0]}; nothing was kept")


def _rotates_alike(one: RotarySite, other: RotarySite) -> bool:
    """Whether two rotary modules, made anew from their configs, have the same frequencies and attention factors."""
    meant, read = (fresh_module(type(site.module), site.config) for site in (one, other))
    return all(
        torch.allclose(meant.get_buffer(name), read.get_buffer(name), rtol=_EXACT, atol=0)
        and math.isclose(attention_scaling(meant, kind), attention_scaling(read, kind), rel_tol=_EXACT)
        for name, kind in frequency_buffers(meant).items()
    )


def saved_config(config: PreTrainedConfig) -> dict[str, Any]:
    """A config as its file says it."""
    held: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return held


def _differences(meant: Any, read: Any, path: str = "") -> list[str]:
    """Where two saved configs differ, but for words that only engines read."""
    if isinstance(meant, dict) and isinstance(read, dict):
        in_rope = "rope_parameters" in path
        keys = sorted(meant.keys() if in_rope else (meant.keys() | read.keys()) - _NOT_ROPE - _OLDER)
        return [one for key in keys for one in _differences(meant.get(key), read.get(key), f"{path}.{key}".strip("."))]
    return [] if meant == read else [f"{path}: {meant!r} became {read!r}"]
