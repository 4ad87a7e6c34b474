"""What answers are kept under: a hash of the question, and one of all that the model's numbers depend on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rope_scaling.eval.answers import fingerprint
from rope_scaling.patches import describe
from rope_scaling.schemes import scheme_options

FORMAT = 1
"""Raised when the same model would give other answers by this code, or lines are written another way."""
_TOKENIZERS: WeakKeyDictionary[Any, tuple[int, str]] = WeakKeyDictionary()
"""Keys of tokenizers, with the size that each had: a large vocabulary takes a second to look through."""
PACKAGES = ("rope-scaling", "lm-eval", "torch", "transformers")


def digest(value: Any) -> str:
    """Return 32 hexadecimal digits for anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def question_key(kind: str, arguments: Sequence[Sequence[Any]]) -> str:
    """Return the key of a question.

    Args:
        kind: how it is answered: `loglikelihood`, `generate_until`.
        arguments: of its requests, in order: each prompt with its choice, or with what generation is told.
    """
    return digest([kind, [list(one) for one in arguments]])


def text_key(ids: Tensor, how: Mapping[str, Any]) -> str:
    """Return the key of a text that is scored token by token.

    Args:
        ids: its tokens, (tokens,).
        how: what the scores depend on beside the model: window, stride, where ranges end.
    """
    return digest(["text", dict(how), ids.tolist()])


def tokenizer_key(tokenizer: Any) -> str:
    """Return the key of a tokenizer: what it makes of any text."""
    size, key = _TOKENIZERS.get(tokenizer, (-1, ""))
    if size != len(tokenizer):
        key = digest([type(tokenizer).__name__, _splits(tokenizer)])
        _TOKENIZERS[tokenizer] = len(tokenizer), key
    return key


def checkpoint_key(model: nn.Module) -> str:
    """Return the key of a loaded checkpoint, not patched: a sample of every weight, and what stands for the others."""
    config: Any = model.config
    files = _files(str(config.name_or_path)) if _hides(model) else []
    return fingerprint(model, {"config": _said(config), "files": files})


def identity(model: nn.Module, checkpoint: str, tokenizer: str) -> dict[str, Any]:
    """Return all that the answers of a model, patched or not, depend on.

    Args:
        model: as it will be asked.
        checkpoint: its `checkpoint_key`.
        tokenizer: its `tokenizer_key`.
    """
    config: Any = model.config
    frequencies = {name: buffer.flatten().tolist() for name, buffer in model.named_buffers() if "inv_freq" in name}
    dtype, device = getattr(model, "dtype", None), getattr(model, "device", None)
    return {
        "format": FORMAT,
        "checkpoint": checkpoint,
        "tokenizer": tokenizer,
        "rope": _rope(model),
        "frequencies": digest(frequencies),
        "config": digest(_said(config)),
        "dtype": str(dtype).removeprefix("torch."),
        "device": getattr(device, "type", None),
        "attention": getattr(config, "_attn_implementation", None),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _splits(tokenizer: Any) -> Any:
    """Return what a tokenizer is made of, without how it was last called to pad and cut."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return sorted(tokenizer.get_vocab().items())
    return {key: part for key, part in json.loads(backend.to_str()).items() if key not in ("truncation", "padding")}


@functools.cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # lm-eval, where only a text is scored
        return None


def _rope(model: nn.Module) -> dict[str, Any] | None:
    try:
        told = describe(model)
    except (TypeError, ValueError):  # no RoPE, or none that is understood: so nothing was patched
        return None
    return {
        "scheme": told.scheme.name if told.scheme else "none",
        "options": scheme_options(told.scheme) if told.scheme else {},
        "factor": told.factor if isfinite(told.factor) else None,
        "original_max_position_embeddings": told.original_max_position_embeddings,
    }


def _said(config: Any) -> dict[str, Any]:
    """Return a config without where it was read from."""
    said: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {key: value for key, value in said.items() if key != "_name_or_path"}


def _hides(model: nn.Module) -> bool:
    """Whether some weights cannot be looked at, because they are offloaded or packed by a quantizer."""
    return any(one.device.type == "meta" or type(one.data) is not torch.Tensor for one in model.parameters())


def _files(name: str) -> list[list[Any]]:
    """Return what files of weights a folder has."""
    folder = Path(name)
    kinds = ("*.safetensors", "*.bin")
    paths = sorted(path for kind in kinds for path in folder.glob(kind)) if folder.is_dir() else []
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
