"""`rope-hf`: lm-eval's Hugging Face model with scaled rotary frequencies, whose results say what they are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping, Sequence
from functools import cached_property
from importlib.metadata import version
from math import isfinite
from typing import Any

import torch
from lm_eval.api.registry import model_registry, register_model

from rope_scaling.eval.answers import claim, fingerprint, holds_truncated, mark_truncated
from rope_scaling.eval.engine.hflm import EngineHFLM
from rope_scaling.eval.truncation import TruncationError, TruncationWarning, truncation_tallies
from rope_scaling.patches import describe, patch_model
from rope_scaling.schemes import Scheme, parse_scheme, scheme_options

__all__ = ["RopeHFLM", "TruncationError", "TruncationWarning", "truncation_tallies"]


class RopeHFLM(EngineHFLM):
    """HFLM whose model is patched after loading; every option of HFLM holds.

    Args:
        scheme: name, `name:option=value,...`, or a scheme; "none" without a factor leaves the model alone.
        factor: new length / trained length; 2 where neither this, the scheme nor `max_length` tells.
        original_max_length: the trained length, where the checkpoint's config does not tell it right.
        on_scaled: "compose" or "replace", for a checkpoint that is scaled already.
        dynamic: scale each request by its own length, and not at all within L; `factor` or `max_length` is the most.
            The same as a scheme's name after `dynamic-`. Without either, give `max_length`, or requests end at L.
        max_length: without a factor the length to scale to, as in `patch_model`. With a factor, or with
            scheme "none", only what it is in HFLM: how long requests may be, below or beyond the model's own.
        device: CUDA where there is one, else the CPU.
        options: those of `EngineHFLM` (`chunk`, `cache_gb`, `allow_truncation`) and of HFLM.
    """

    def __init__(
        self,
        pretrained: str | torch.nn.Module,
        scheme: str | Scheme | None = "none",
        *,
        factor: float | None = None,
        original_max_length: int | None = None,
        on_scaled: str | None = None,
        dynamic: bool = False,
        max_length: int | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        chosen = parse_scheme(scheme or "none") if isinstance(scheme, (str, type(None))) else scheme
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        super().__init__(pretrained, max_length=max_length, device=device, **options)
        scaled = chosen.name != "none" or factor is not None or chosen.factor is not None
        if scaled or dynamic:
            target = max_length if factor is None and chosen.factor is None else None
            patch_model(
                self.model,
                chosen,
                factor=factor,
                max_length=target,
                original_max_length=original_max_length,
                on_scaled=on_scaled,
                dynamic=dynamic,
            )
            # the config of a dynamic patch keeps L
            self._max_length = max_length or describe(self.model).max_length
        # a tokenizer that still knows the trained length warns, and cuts where `truncation=True`
        self.tokenizer.model_max_length = max(self.tokenizer.model_max_length, self.max_length)
        self._cache: MutableMapping[str, Any] | None = None

    @property
    def truncated(self) -> Counter[str]:
        """How many requests of each type were longer than `max_length` and so lost their beginning."""
        return self.truncation_policy.counts

    def rope(self) -> dict[str, Any]:
        """What the model's frequencies are, as JSON can hold it."""
        try:
            told = describe(self.model)
        except (TypeError, ValueError) as error:  # no RoPE, or none that is understood: so nothing was patched
            return {"scheme": "none", "options": {}, "rope_type": None, "why": str(error)}
        return {
            "scheme": told.scheme.name if told.scheme else "none",
            "options": scheme_options(told.scheme) if told.scheme else {},
            "rope_type": told.rope_type,
            "factor": told.factor if isfinite(told.factor) else None,
            "original_max_position_embeddings": told.original_max_position_embeddings,
            "max_length": told.max_length,
        }

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes under `config` in its results, once the run is over."""
        packages = ("rope-scaling", "lm-eval", "torch", "transformers")
        return {
            **super().get_model_info(),
            "rope": self.rope(),
            "fingerprint": self.fingerprint,
            "harness_max_length": self.max_length,
            "truncated_requests": dict(self.truncated),
            "truncated_requests_in_cache": holds_truncated(self._cache),
            "engine": self.engine.told(),
            "processes": self.processes.count,
            "package_versions": {name: version(name) for name in packages},
        }

    @cached_property
    def fingerprint(self) -> str:
        """What tells this model and its frequencies from any other, 16 hexadecimal digits."""
        return fingerprint(self.model, self._identity())

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuses a response cache (`--use_cache`) of another model or scheme: it is keyed by text alone."""
        if cache_hook.dbdict is not None:
            if self.processes.count > 1:  # each has its own cache, and would ask the others for what it alone lacks
                raise ValueError(
                    "--use_cache keeps answers for a single process: start one, or use rope-scaling eval -o, whose "
                    "store all processes write and read"
                )
            claim(cache_hook.dbdict, self._identity() | {"fingerprint": self.fingerprint})
            self._cache = cache_hook.dbdict
        super().set_cache_hook(cache_hook)

    def _check_length(self, kind: str, tokens: Sequence[int]) -> None:
        before = self.truncated.total()
        super()._check_length(kind, tokens)
        if self.truncated.total() > before:
            mark_truncated(self._cache)

    def _identity(self) -> dict[str, Any]:
        name = self.pretrained if isinstance(self.pretrained, str) else self.config.name_or_path
        checkpoint = {"pretrained": name, "revision": self.revision, "peft": self.peft, "delta": self.delta}
        return checkpoint | self.rope() | {"dtype": str(self.model.dtype), "harness_max_length": self.max_length}


if "rope-hf" not in model_registry:  # an lm-eval that reads entry points has it already, and takes no second one
    register_model("rope-hf")(RopeHFLM)
