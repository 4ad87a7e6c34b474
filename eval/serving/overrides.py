"""A scheme in vLLM's words: what `extend --for vllm` would write into a config, told by `hf_overrides` instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig

from rope_scaling.config import max_position_embeddings, read_rope
from rope_scaling.extend.documents import Json, parse_document
from rope_scaling.extend.folder import Source
from rope_scaling.extend.wording import write_edits
from rope_scaling.patches.offline import plan_extension
from rope_scaling.record import RECORD
from rope_scaling.schemes import Scheme

CONFIG = "config.json"
LENGTH = "max_position_embeddings"


@dataclass(frozen=True)
class Overrides:
    """What vLLM is told of one scheme.

    Attributes:
        values: keys of the config, as `hf_overrides` takes them.
        length: tokens that the config then declares.
        original: L.
    """

    values: dict[str, Any]
    length: int
    original: int


def vllm_overrides(source: Source, scheme: Scheme, length: int, **options: Any) -> Overrides:
    """Return what to tell vLLM, for texts of `length` tokens.

    Args:
        source: the checkpoint.
        scheme: the scheme.
        length: of the longest text.
        **options: as for `patch_model`.

    Raises:
        TypeError: The model has no rotary embedding.
        ValueError: vLLM cannot be told of the scheme, with the reason that `extend --for vllm` gives, or has no
            angles for texts of this length.
    """
    if scheme.name == "none" and scheme.factor is None:
        return _as_it_is(source, length)
    try:
        extension, _ = plan_extension(source, scheme, ["vllm"], **options)
    except ValueError as error:
        raise ValueError(f"--backend vllm, scheme {scheme.name}: {_reason(error)}") from None
    before, after = (parse_document(CONFIG, source.held[CONFIG]) for _ in range(2))
    write_edits(after, extension.edits)
    values = _changed(before, after)
    parameters = after["rope_parameters"]
    if parameters["rope_type"] == "default" and length > extension.new:
        values[LENGTH] = length  # such a table goes on for ever; it is only made longer
    elif length > extension.new:
        raise ValueError(
            f"--backend vllm, scheme {scheme.name}: texts of {length} tokens, and vLLM has angles for the "
            f"{extension.new} tokens of the scheme: raise its factor, or ask for shorter texts"
        )
    original = extension.record["original_max_position_embeddings"]
    return Overrides(values, int(after[LENGTH] if LENGTH not in values else values[LENGTH]), original)


def _as_it_is(source: Source, length: int) -> Overrides:
    """Return what lets the checkpoint read on beyond its length, where its angles do not follow the length."""
    config = AutoConfig.from_pretrained(source.folder)
    declared, rope = max_position_embeddings(config), read_rope(config)
    if length > declared and rope.rope_type != "default":
        raise ValueError(
            f"--backend vllm, scheme none: texts of {length} tokens, and the checkpoint, scaled already (rope_type "
            f"{rope.rope_type!r}), declares {declared}: ask for shorter texts"
        )
    longer = {LENGTH: length} if length > declared else {}
    return Overrides(longer, max(length, declared), rope.original_max_position_embeddings)


def _changed(before: Json, after: Json) -> Json:
    """Return the keys to set, `rope_parameters` last: in Transformers 5 `rope_scaling` is another name for it.

    Under Transformers 4 vLLM reads `rope_scaling` and `rope_theta` where a config has them.
    """
    own = {key: value for key, value in after.items() if key != RECORD and (key not in before or before[key] != value)}
    parameters = after["rope_parameters"]
    own.pop("rope_parameters", None)
    if own.get("rope_scaling"):
        own["rope_scaling"] = parameters
    return own | {"rope_parameters": parameters}


def _reason(error: ValueError) -> str:
    return str(error).removesuffix("; nothing was written")
