"""What Transformers makes of a config, without running anybody else's code and without being led into huge work."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MOST_LAYERS = 10_000
"""Config classes make a list with an entry for every layer."""
_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "num_attention_heads", "n_head")
_INNER = ("text_config", "llm_config", "language_config")


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a config that also describes towers for images or sound."""
    thinker = config.get("thinker_config")
    if isinstance(thinker, Mapping):
        return text_part(thinker)
    inner = next((config[key] for key in _INNER if isinstance(config.get(key), Mapping)), None)
    return config if inner is None else inner


def resolve(config: Mapping[str, Any]) -> tuple[PreTrainedConfig | None, str | None]:
    """(config, None) as its own class in Transformers makes it, (None, why) where that refuses it.

    (None, None) where Transformers does not know the architecture: its code would come with the checkpoint, and is
    not run.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or too_large(config):
        return None, None
    from transformers import PreTrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        return None, None
    try:
        with _quiet():
            made: PreTrainedConfig = CONFIG_MAPPING[model_type].from_dict(copy.deepcopy(dict(config)))
            text = made.get_text_config()
            return text if isinstance(text, PreTrainedConfig) else made, None
    except Exception as error:  # what a config class raises is its own business
        return None, f"{type(error).__name__}: {str(error).strip() or 'no reason given'}"


def too_large(config: Mapping[str, Any]) -> str | None:
    """The key of a count that no model has, if there is one."""
    for key in _COUNTS:
        value = config.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > MOST_LAYERS:
            return key
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Transformers' warnings off the terminal: the rules say them with numbers."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
