"""Whether a model's weights, its config and its live frequencies agree, and where not, which of them is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_scaling.config import Config, layer_types_of, read_plain_rope, read_rope_parameters
from rope_scaling.patches.checks import check_frequencies
from rope_scaling.patches.discover import find_rotary
from rope_scaling.patches.laws.law import LawResult, judge, undecided
from rope_scaling.patches.laws.likelihood import most_to_blame
from rope_scaling.patches.laws.readings import THETAS, heads_law, layout_law, theta_law
from rope_scaling.patches.laws.watch import left_as_it_was
from rope_scaling.record import read_record
from rope_scaling.rope import check_positive

_BY_TEXT = ("theta", "layout", "heads")


def find_mismatches(
    model: nn.Module, input_ids: Tensor | None = None, *, thetas: tuple[float, ...] = THETAS
) -> tuple[LawResult, ...]:
    """Hold the weights of a causal language model against its config; it is left as it was.

    Args:
        model: A Transformers model with rotary embeddings, of any dtype and on any device.
        input_ids: Natural text of the kind that the model was trained on, (1, tokens), 512 or more; without it the
            faults that only the model's own predictions betray are not looked for.
        thetas: Which other values of theta may read the text better.

    Returns:
        `live frequencies`, `head_dim` and `factor`, read; then `theta` (one for each layer type that has its own),
        `layout` and `heads`, by what the text costs under another reading of the same weights.

    Raises:
        TypeError: The model has no rotary embedding.
        ValueError: It has one that is not understood.
    """
    config = find_rotary(model)[0].config
    kinds: list[str | None] = [*layer_types_of(config)] or [None]
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    read = (live_frequencies_law(model), head_dim_law(config, shapes), *(factor_law(config, kind) for kind in kinds))
    why_not = _why_no_text(model, input_ids)
    if input_ids is None or why_not is not None:
        return (*read, *(undecided(name, str(why_not)) for name in _BY_TEXT))
    with left_as_it_was(model):
        by_text = [theta_law(model, input_ids, kind, thetas) for kind in kinds]
        by_text += [layout_law(model, input_ids), heads_law(model, input_ids)]
    return (*read, *most_to_blame(by_text))


def live_frequencies_law(model: nn.Module) -> LawResult:
    """The live modules hold the frequencies that the config gives."""
    name, sites = "live frequencies", find_rotary(model)
    wrong = []
    for site in sites:
        try:
            check_frequencies(site)
        except ValueError as error:
            wrong.append(str(error))
    holds = f"{len(sites)} rotary module(s) hold the frequencies that the config gives"
    return judge(name, float(len(wrong)), 0.0, holds, wrong[0] if wrong else "")


def head_dim_law(config: Config, shapes: Mapping[str, tuple[int, ...]]) -> LawResult:
    """Query and key projections have as many rows as heads × head_dim.

    Args:
        config: A Transformers config, or the dict of a `config.json`.
        shapes: Of the weights, by name; those of a file serve as well as those of a model.
    """
    kind = next(iter(layer_types_of(config)), None)
    head_dim = read_plain_rope(config, kind).head_dim
    heads = int(_get(config, "num_attention_heads") or 0)
    shared = int(_get(config, "num_key_value_heads") or _get(config, "num_kv_heads") or heads)
    if not heads or _get(config, "qk_rope_head_dim") is not None:
        return undecided("head_dim", "does not apply: its heads have no one head_dim")
    ways = {
        "q_proj": {heads, 2 * heads},  # twice where a gate comes with the query
        "k_proj": {shared},
        "qkv_proj": {heads + 2 * shared},
        "query_key_value": {heads + 2 * shared, heads + 2, 3 * heads},
    }
    seen = 0
    for name, shape in shapes.items():
        projection = name.removesuffix(".weight").rpartition(".")[2]
        counts = ways.get(projection) if name.endswith(".weight") else None
        if counts is None or shape[1:] != (_get(config, "hidden_size"),):  # packed, or of another tower
            continue
        seen += 1
        if shape[0] not in {count * head_dim for count in counts}:
            told = f"{name} has {shape[0]} rows, {shape[0] / min(counts):g} for each of {min(counts)} heads"
            return LawResult("head_dim", False, shape[0] / min(counts), head_dim, f"{told}; the config says {head_dim}")
    if not seen:
        return undecided("head_dim", "cannot be told: no projection of queries or keys is known in these weights")
    return LawResult("head_dim", True, head_dim, head_dim, f"{seen} projections fit heads of {head_dim} dimensions")


def factor_law(config: PreTrainedConfig, layer_type: str | None = None) -> LawResult:
    """The factor that a config declares is the ratio of the lengths that it declares."""
    name = "factor" if layer_type is None else f"factor of {layer_type}"
    parameters = read_rope_parameters(config, layer_type)
    rope_type = parameters["rope_type"]
    original = read_plain_rope(config, layer_type).original_max_position_embeddings
    whole = int(config.max_position_embeddings)
    if read_record(config) is not None:
        return undecided(name, "does not apply: the model is patched, its lengths were set together with its factor")
    if original > whole:
        told = f"original_max_position_embeddings ({original}) is more than max_position_embeddings ({whole})"
        return LawResult(name, False, whole / original, 1.0, told)
    if parameters.get("factor") is None:
        return undecided(name, f"does not apply: rope_type {rope_type!r} declares no factor")
    if rope_type == "llama3":
        return undecided(name, "cannot be told: llama3's factor need not be the ratio of lengths (Llama 3.1: 8 for 16)")
    if "original_max_position_embeddings" not in parameters and not hasattr(config, "original_max_position_embeddings"):
        return undecided(name, "cannot be told: the config has no original_max_position_embeddings to hold it against")
    factor, ratio = check_positive("factor", parameters["factor"]), whole / original
    told = f"factor {factor:g}, and {whole} tokens after {original} is {ratio:g} times as many"
    return LawResult(name, math.isclose(factor, ratio, rel_tol=0.01), factor, ratio, told)


def _why_no_text(model: nn.Module, input_ids: Tensor | None) -> str | None:
    if input_ids is None:
        return "not looked for: it takes a text to read"
    if read_record(find_rotary(model)[0].config) is not None:
        return "not looked for: the model is patched; unpatch it first"
    return None


def _get(config: Config, key: str) -> Any:
    return config.get(key) if isinstance(config, Mapping) else getattr(config, key, None)
