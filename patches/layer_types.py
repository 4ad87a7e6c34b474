"""Which layer types of a model are scaled, where each has a RoPE of its own."""

from __future__ import annotations

from transformers import PreTrainedConfig

from rope_scaling.config import layer_types_of, max_position_embeddings
from rope_scaling.patches.discover import RotarySite, frequency_buffers
from rope_scaling.patches.request import Request


def asked_layer_types(config: PreTrainedConfig, sites: list[RotarySite], request: Request) -> list[str | None]:
    """The layer types to scale: those asked for, else all but those with a sliding window within the trained length.

    Raises:
        ValueError: There is none, or no such layer type.
    """
    nested = layer_types_of(config)
    used = {kind for site in sites for kind in frequency_buffers(site.module).values()}
    there: list[str | None] = [name for name in nested if name in used]
    if request.layer_types is not None:
        return _named(there, request.layer_types)
    if not nested:
        return [None]
    window = getattr(config, "sliding_window", None)
    local = window is not None and window <= (request.original_max_length or max_position_embeddings(config))
    found = [name for name in there if not (local and "sliding" in str(name))]
    if not found:
        raise ValueError(
            f"every rotary layer of this model sees a sliding window of {window} tokens, within the trained length: "
            "there is nothing to extend (layer_types= scales them all the same)"
        )
    return found


def _named(there: list[str | None], asked: tuple[str, ...]) -> list[str | None]:
    if not there:
        raise ValueError(f"layer_types={asked!r}, but all layers of this model share one RoPE: leave it out")
    for name in asked:
        if name not in there:
            raise ValueError(
                f"layer_types={asked!r}: this model has no {name!r} with a RoPE of its own "
                f"({', '.join(map(str, there))})"
            )
    return [name for name in there if name in asked]
