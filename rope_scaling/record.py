"""The record that a patch leaves in the config: what was done, and what was there before."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rope_scaling.schemes import Scheme, make_scheme

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

RECORD = "rope_scaling_patch"
"""The config's attribute, and the key in its `config.json`."""


@dataclass(frozen=True)
class PatchRecord:
    """What `patch_model` did to a config, as JSON holds it.

    Attributes:
        scheme: Name of the scheme.
        options: Its options that are not defaults, `factor` among them.
        original_max_position_embeddings: L that the scheme started from, in tokens.
        max_position_embeddings: The length that was reached, in tokens; None where there is no largest.
        before: The config's keys as they were, None for one that was not there.
        generation_max_length: `generation_config.max_length` as it was, where the patch raised it.
        on_scaled: How an already scaled checkpoint was treated: "compose", "replace", or None if it was plain.
        layer_types: The layer types that were scaled, where a model has several.
        native: Whether the config's own `rope_parameters` say all of it, so that plain Transformers needs no plugin.
    """

    scheme: str
    options: dict[str, Any]
    original_max_position_embeddings: int
    max_position_embeddings: int | None
    before: dict[str, Any]
    generation_max_length: int | None = None
    on_scaled: str | None = None
    layer_types: list[str] = field(default_factory=list)
    native: bool = True

    def make_scheme(self) -> Scheme:
        """The scheme as a value."""
        return make_scheme(self.scheme, self.options)

    @property
    def fingerprint(self) -> str:
        """Equal for two patches whose cached keys are interchangeable."""
        return repr((self.scheme, self.options, self.original_max_position_embeddings, self.before))

    def write(self, config: PreTrainedConfig) -> None:
        """Put the record into a config."""
        setattr(config, RECORD, copy.deepcopy(asdict(self)))


def read_record(config: object) -> PatchRecord | None:
    """The record in a config object or dict, if there is one.

    Raises:
        ValueError: There is one that cannot be read.
    """
    held = config.get(RECORD) if isinstance(config, Mapping) else getattr(config, RECORD, None)
    if held is None:
        return None
    try:
        return PatchRecord(**copy.deepcopy(held))
    except TypeError as error:
        raise ValueError(
            f"config.{RECORD} cannot be read ({error}): it was edited or comes from another version; "
            "remove it to treat rope_parameters as the checkpoint's own"
        ) from error


def erase_record(config: PreTrainedConfig) -> None:
    """Take the record out of a config and put back what was there before."""
    record = read_record(config)
    if record is None:
        return
    delattr(config, RECORD)
    for key, value in record.before.items():
        if value is None and key in vars(config):
            delattr(config, key)
        elif value is not None:
            setattr(config, key, value)
