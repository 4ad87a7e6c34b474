"""All laws that a model with RoPE must obey, run on a loaded one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rope_scaling.patches.laws.exceptions import why_absolute
from rope_scaling.patches.laws.law import LawResult, undecided
from rope_scaling.patches.laws.measure import record
from rope_scaling.patches.laws.rotation import NAMES, rotation_laws
from rope_scaling.patches.laws.sequence import Reference, cache_law, shift_law, suffix_law
from rope_scaling.patches.laws.watch import input_device, left_as_it_was

_TOKENS = 48
_SHIFT = 128
_REACH = 4096


def check_laws(model: nn.Module, *, input_ids: Tensor | None = None, shift: int | None = None) -> tuple[LawResult, ...]:
    """Run every law on a causal language model, patched or not; it is left as it was.

    The bounds follow the dtype: logits may differ by 4 times what one unit in the last place of the embedded tokens
    makes of them in this very model, queries and keys by a few units of the dtype.

    Args:
        model: A Transformers model with a language modelling head, of any dtype and on any device.
        input_ids: What it reads, (1, tokens), at least 8; random tokens unless given.
        shift: Tokens by which all positions are moved; 128, or as many as the trained length has room for.

    Returns:
        `shift`, `suffix` and `cache`, seen in the logits; then `values`, `queries and keys`, `relative`, `norms`,
        `origin` and `frequencies`, seen in what attention compares and mixes.

    Raises:
        TypeError: It is no causal language model of Transformers.
        ValueError: `input_ids` or `shift` are impossible.
    """
    length = _length(model)
    ids = _random_tokens(model, length) if input_ids is None else input_ids.to(input_device(model))
    if ids.dim() != 2 or ids.shape[0] != 1 or ids.shape[1] < 8:
        raise ValueError(f"input_ids must be one row of at least 8 tokens, (1, tokens), got shape {tuple(ids.shape)}")
    shift = max(1, min(_SHIFT, length - ids.shape[1])) if shift is None else shift
    if shift < 1:
        raise ValueError(f"shift must be a positive number of tokens, got {shift}")
    beyond = shift + ids.shape[1] > length
    with left_as_it_was(model):
        reference = Reference.of(model, ids)
        sequence = (
            shift_law(reference, shift, why_absolute(model, beyond=beyond)),
            suffix_law(reference),
            cache_law(reference),
        )
    return (*sequence, *_rotation_laws(model, length, int(ids[0, -1])))


def _rotation_laws(model: nn.Module, length: int, token: int) -> tuple[LawResult, ...]:
    try:
        recording = record(model, min(length, _REACH), token)
        return rotation_laws(recording, why_absolute(model, beyond=False))
    except TypeError as error:
        return tuple(undecided(name, f"does not apply: {error}") for name in NAMES)
    except ValueError as error:
        return tuple(undecided(name, f"cannot be told: {error}") for name in NAMES)


def _length(model: nn.Module) -> int:
    """The tokens up to which positions are sure to be legal: the trained length."""
    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "get_input_embeddings") or getattr(config, "is_encoder_decoder", False):
        raise TypeError(f"model must be a causal language model of Transformers, got {type(model).__name__}")
    text = config.get_text_config()
    original = (getattr(text, "rope_parameters", None) or {}).get("original_max_position_embeddings")
    lengths = [n for n in (original, getattr(text, "max_position_embeddings", None)) if isinstance(n, int)]
    return max(16, min(lengths, default=_TOKENS + _SHIFT))


def _random_tokens(model: nn.Module, length: int) -> Tensor:
    """(1, tokens), at most half of the trained length: positions are doubled to see whether they count."""
    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    count = min(_TOKENS, length // 2)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, embeddings.num_embeddings, (1, count), generator=generator, device="cpu")
    return ids.to(input_device(model))
