"""The RoPE of a config in the words of its `config.json`, newer and older ones, so that old and new engines agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rope_scaling.extend.documents import Json
from rope_scaling.record import RECORD

_ALIASES = ("rope_theta", "rotary_emb_base")
_BESIDE = ("rope_theta", "partial_rotary_factor")
"""Keys that stood beside `rope_scaling` before Transformers 5 moved them into `rope_parameters`."""


@dataclass(frozen=True)
class ConfigEdit:
    """What becomes of one config, which may stand inside of another.

    Attributes:
        path: The keys that lead to it, none for the outermost.
        values: What is set, by the keys of `config.json`; `rope_parameters` and the record among them.
        words: Further keys of `rope_parameters`, which only some engines read.
    """

    path: tuple[str, ...]
    values: Mapping[str, Any]
    words: Mapping[str, object] = field(default_factory=dict)

    @property
    def parameters(self) -> Json:
        """`rope_parameters` with all words in it."""
        own = dict(self.values["rope_parameters"])
        return own if is_nested(own) else own | dict(self.words)


def is_nested(parameters: Mapping[str, Any]) -> bool:
    """Whether `rope_parameters` hold a RoPE for each layer type, which the older spelling cannot say."""
    return any(isinstance(value, Mapping) for value in parameters.values())


def write_edits(config: Json, edits: Sequence[ConfigEdit]) -> None:
    """Change the dict of a `config.json` in place."""
    for edit in edits:
        node = config
        for key in edit.path:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ValueError(f"{'.'.join(edit.path)} of config.json must be an object, got {type(node).__name__}")
        node |= dict(edit.values) | {"rope_parameters": edit.parameters}
        _write_older(node, edit.parameters)


def _write_older(node: Json, parameters: Json) -> None:
    """`rope_scaling` and `rope_theta`, which Transformers 4 and the engines built on it read."""
    if is_nested(parameters):
        node.pop("rope_scaling", None)  # Transformers 5 would take it before rope_parameters
        return
    theta = parameters["rope_theta"]
    node |= {key: theta for key in _ALIASES if key in node or key == "rope_theta"}
    if "partial_rotary_factor" in parameters:
        node["partial_rotary_factor"] = parameters["partial_rotary_factor"]
    if parameters["rope_type"] != "default" or set(parameters) - {"rope_type", *_BESIDE}:
        node["rope_scaling"] = {key: value for key, value in parameters.items() if key not in _BESIDE}
    elif "rope_scaling" in node:
        node["rope_scaling"] = None


def written_record(config: Mapping[str, Any]) -> bool:
    """Whether a config or one inside of it carries the record of a patch."""
    return RECORD in config or any(written_record(part) for part in config.values() if isinstance(part, Mapping))
