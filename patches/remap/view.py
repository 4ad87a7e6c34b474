"""A model's config as its remapped attention sees it: the same in everything but the attention it asks for.

`model.config` itself is left alone, so that masks, generation and all other code that looks at the implementation by
name does what it did, and `set_attn_implementation` goes on working.
"""

from __future__ import annotations

import copy
from typing import Any

from transformers import PreTrainedConfig

PREFIX = "rope_scaling|"
"""Before the name of the attention that is used where nothing is remapped."""

_VIEWS: dict[type[PreTrainedConfig], type[PreTrainedConfig]] = {}


class _View:
    """Mixin over a config class; an instance shares the attributes of the config that it shows."""

    __slots__ = ("_rope_scaling_shown",)
    _rope_scaling_shown: PreTrainedConfig
    _attn_implementation_internal: str | None

    @property
    def _attn_implementation(self) -> str:
        return PREFIX + (self._attn_implementation_internal or "eager")

    def __copy__(self) -> PreTrainedConfig:
        return copy.copy(self._rope_scaling_shown)

    def __deepcopy__(self, memo: dict[int, Any]) -> PreTrainedConfig:
        return view_of(copy.deepcopy(self._rope_scaling_shown, memo))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return view_of, (self._rope_scaling_shown,)


def view_of(config: PreTrainedConfig) -> PreTrainedConfig:
    """What an attention module is given in place of `config`; later changes of either are changes of both."""
    base = type(config)
    if base not in _VIEWS:
        own: dict[str, Any] = {key: getattr(base, key) for key in ("__module__", "__qualname__", "__doc__")}
        own["__slots__"] = ()
        _VIEWS[base] = type(base.__name__, (_View, base), own)
    view = object.__new__(_VIEWS[base])
    object.__setattr__(view, "__dict__", vars(config))
    object.__setattr__(view, "_rope_scaling_shown", config)
    return view


def shown_by(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config that a view shows; any other config itself."""
    return config._rope_scaling_shown if isinstance(config, _View) else config
