"""A checkpoint on disk, extended: its new config is found by patching the model without its weights, and proved."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from rope_scaling import __version__
from rope_scaling.config import layer_types_of, max_position_embeddings, read_rope
from rope_scaling.extend.engines import Target
from rope_scaling.extend.folder import Extension, Source, Written, extend_folder
from rope_scaling.extend.kindred import kindred
from rope_scaling.extend.place import Tick
from rope_scaling.extend.serving import plan_serving
from rope_scaling.extend.wording import ConfigEdit, is_nested
from rope_scaling.patches.checks import model_configs
from rope_scaling.patches.discover import find_rotary
from rope_scaling.patches.model import patch_model
from rope_scaling.patches.request import Request, settle
from rope_scaling.patches.skeleton import make_skeleton, prove_folder, saved_config
from rope_scaling.patches.tables import find_tables
from rope_scaling.record import RECORD, PatchRecord, read_record
from rope_scaling.schemes import Remap, Scheme, is_remap

_WORDLESS = (
    "{what} has no words in a Transformers config, so no file can say it: patch the loaded model with patch_model"
)


def plan_extension(
    source: Source, scheme: Scheme, engines: Sequence[str] = (), *, trust_remote_code: bool = False, **options: Any
) -> tuple[Extension, PreTrainedModel]:
    """What to write for a scheme, found by patching the source's model on the meta device.

    Args:
        source: The checkpoint.
        scheme: The scheme.
        engines: Those to write for besides Transformers.
        trust_remote_code: Whether to run the Python files of the checkpoint.
        **options: As for `patch_model`.

    Returns:
        What to write, and the patched model, which has no numbers.

    Raises:
        TypeError: The model has no rotary embedding.
        ValueError: The scheme does not fit, Transformers or an engine cannot be told of it.
    """
    model = make_skeleton(source.folder, trust_remote_code)
    if find_tables(model) is not None:
        raise ValueError(_WORDLESS.format(what=f"a scaled table of {model.config.model_type}"))
    before = copy.deepcopy(model.config)
    if is_remap(scheme):
        raise ValueError(_without_words(scheme, model, options))
    patch_model(model, scheme, **options)
    parts = [(path, config) for path, config in _parts(model.config) if read_record(config) is not None]
    path, config = parts[0]
    record = _native_record(config)
    parameters = saved_config(config)["rope_parameters"]
    plain_text = len(parts) == 1 and not path and not is_nested(parameters)
    length, original = record.max_position_embeddings, record.original_max_position_embeddings
    assert length is not None
    words, served = plan_serving(Target(config.model_type, parameters, length, original, plain_text), engines)
    old = max_position_embeddings(_at(before, path))
    extension = Extension(
        edits=[_edit(path, config, words, source.generation_length(old)) for path, config in parts],
        old=old,
        new=length,
        told=_told(record),
        record=_about(source, record),
        trained=_trained(_at(before, path)),
        served=served,
    )
    return extension, model


def extend_checkpoint(
    source: Source,
    out: Path,
    scheme: Scheme,
    engines: Sequence[str] = (),
    *,
    trust_remote_code: bool = False,
    force: bool = False,
    copy_weights: bool = False,
    tick: Tick = lambda copied: None,
    **options: Any,
) -> tuple[Extension, Written]:
    """Write `out`, the source with its RoPE scaled; it appears whole or not at all.

    Args:
        source: The checkpoint, which is never touched.
        out: Where to write.
        scheme: The scheme.
        engines: Those to write for besides Transformers.
        trust_remote_code: Whether to run the Python files of the checkpoint.
        force: Replace a folder that was written so before.
        copy_weights: Copy the weights where they could be linked.
        tick: Called with the bytes copied.
        **options: As for `patch_model`.

    Raises:
        TypeError: The model has no rotary embedding.
        ValueError: The scheme does not fit, or an engine or Transformers cannot be told of it.
        OSError: The disk is full or cannot be written.
    """
    extension, patched = plan_extension(source, scheme, engines, trust_remote_code=trust_remote_code, **options)

    def prove(folder: Path) -> None:
        prove_folder(patched, folder, trust_remote_code)

    written = extend_folder(source, extension, out, prove=prove, force=force, copy=copy_weights, tick=tick)
    return extension, written


def _without_words(scheme: Remap, model: PreTrainedModel, options: dict[str, Any]) -> str:
    """Why a remap scheme cannot be written, and which engines have their own."""
    config = model_configs(find_rotary(model))[0]
    kind = next(iter(layer_types_of(config)), None)
    given = {key: options.get(key) for key in ("factor", "max_length", "original_max_length", "on_scaled")}
    asked = settle(config, kind, Request(scheme, **given))
    assert is_remap(asked.scheme)
    told = kindred(asked.scheme, asked.rope, config.model_type)
    why = _WORDLESS.format(what=f"scheme {scheme.name!r}, which remaps positions,")
    return "; ".join([f"{why} and save it: the record goes with it", *(f"{one}: {how}" for one, how in told.items())])


def _native_record(config: PreTrainedConfig) -> PatchRecord:
    """The record of a patch that a config can say, or a ValueError."""
    record = read_record(config)
    assert record is not None
    if not record.native or record.max_position_embeddings is None:
        raise ValueError(_WORDLESS.format(what=f"scheme {record.scheme!r} on {config.model_type}"))
    return record


def _told(record: PatchRecord) -> str:
    options = [f"{key} {value}" for key, value in record.options.items() if not isinstance(value, list)]
    return ", ".join([record.scheme, *options])


def _edit(
    path: tuple[str, ...], config: PreTrainedConfig, words: dict[str, object], generation: int | None
) -> ConfigEdit:
    record = _native_record(config)
    replace(record, generation_max_length=generation).write(config)
    saved = saved_config(config)
    keys = [config.attribute_map.get(key, key) for key in record.before]
    return ConfigEdit(path, {key: saved[key] for key in [*keys, RECORD] if key in saved}, words)


def _about(source: Source, record: PatchRecord) -> dict[str, Any]:
    return {
        "made_by": f"rope-scaling {__version__}",
        "source": source.name,
        "scheme": record.scheme,
        "options": record.options,
        "original_max_position_embeddings": record.original_max_position_embeddings,
        "max_position_embeddings": record.max_position_embeddings,
        "on_scaled": record.on_scaled,
        "layer_types": record.layer_types,
    }


def _trained(config: PreTrainedConfig) -> list[tuple[float, ...]]:
    kinds: list[str | None] = [*layer_types_of(config)] or [None]
    return [read_rope(config, kind).inv_freq for kind in kinds]


def _parts(config: PreTrainedConfig, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], PreTrainedConfig]]:
    """A config and those inside of it, by the keys that lead to them."""
    inside = [(key, part) for key, part in vars(config).items() if isinstance(part, PreTrainedConfig)]
    return [(path, config), *(found for key, part in inside for found in _parts(part, (*path, key)))]


def _at(config: PreTrainedConfig, path: tuple[str, ...]) -> PreTrainedConfig:
    for key in path:
        config = getattr(config, key)
    return config
