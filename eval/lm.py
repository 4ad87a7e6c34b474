"""`rope-hf`: lm-eval's Hugging Face model with scaled rotary frequencies, which tells what it truncates."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs

from rope_scaling.patches import describe, patch_model
from rope_scaling.schemes import Scheme, parse_scheme, scheme_options

if TYPE_CHECKING:
    HFLM: Any = object  # its registering decorator hides its type
else:
    from lm_eval.models.huggingface import HFLM

Tokens = list[int]

_CACHE_OWNER = "rope-scaling: whose answers these are"
_CACHE_TRUNCATED = "rope-scaling: some of these answers are to truncated requests"
_tallies: ContextVar[list[Counter[str]] | None] = ContextVar("tallies", default=None)


class TruncationWarning(UserWarning):
    """A request was longer than the model's length and lost its beginning."""


@contextmanager
def truncation_tallies() -> Iterator[list[Counter[str]]]:
    """Collects `RopeHFLM.truncated` of every model made inside, also where lm-eval makes and drops it."""
    tallies: list[Counter[str]] = []
    token = _tallies.set(tallies)
    try:
        yield tallies
    finally:
        _tallies.reset(token)


class RopeHFLM(HFLM):  # type: ignore[misc]  # see above
    """HFLM whose model is patched after loading; every option of HFLM holds.

    Args:
        scheme: name, `name:option=value,...`, or a scheme; "none" without a factor leaves the model alone.
        factor: new length / trained length; 2 where neither this, the scheme nor `max_length` tells.
        original_max_length: the trained length, where the checkpoint's config does not tell it right.
        on_scaled: "compose" or "replace", for a checkpoint that is scaled already.
        max_length: without a factor the length to scale to, as in `patch_model`. With a factor, or with
            scheme "none", only what it is in HFLM: how long requests may be, below or beyond the model's own.
        device: CUDA where there is one, else the CPU.

    Attributes:
        truncated: how many requests of each type were longer than `max_length` and so lost their beginning.
    """

    truncated: Counter[str]

    def __init__(
        self,
        pretrained: str | torch.nn.Module,
        scheme: str | Scheme | None = "none",
        *,
        factor: float | None = None,
        original_max_length: int | None = None,
        on_scaled: str | None = None,
        max_length: int | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        chosen = parse_scheme(scheme or "none") if isinstance(scheme, (str, type(None))) else scheme
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        super().__init__(pretrained, max_length=max_length, device=device, **options)
        scaled = chosen.name != "none" or factor is not None or chosen.factor is not None
        if scaled:
            target = max_length if factor is None and chosen.factor is None else None
            patch_model(
                self.model,
                chosen,
                factor=factor,
                max_length=target,
                original_max_length=original_max_length,
                on_scaled=on_scaled,
            )
        # a tokenizer that still knows the trained length warns, and cuts where `truncation=True`
        self.tokenizer.model_max_length = max(self.tokenizer.model_max_length, self.max_length)
        self.truncated = Counter()
        self._cache: MutableMapping[str, Any] | None = None
        if (tallies := _tallies.get()) is not None:
            tallies.append(self.truncated)

    def rope(self) -> dict[str, Any]:
        """What the model's frequencies are, as JSON can hold it."""
        told = describe(self.model)
        return {
            "scheme": told.scheme.name if told.scheme else "none",
            "options": scheme_options(told.scheme) if told.scheme else {},
            "rope_type": told.rope_type,
            "factor": told.factor,
            "original_max_position_embeddings": told.original_max_position_embeddings,
            "max_length": told.max_length,
        }

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes under `config` in its results, once the run is over."""
        packages = ("rope-scaling", "lm-eval", "torch", "transformers")
        return {
            **super().get_model_info(),
            "rope": self.rope(),
            "harness_max_length": self.max_length,
            "truncated_requests": dict(self.truncated),
            "truncated_requests_in_cache": self._cache is not None and _CACHE_TRUNCATED in self._cache,
            "package_versions": {name: version(name) for name in packages},
        }

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """HFLM's, after counting the prompts that leave no room for their answer."""
        needed = [self._tokens_to_generate(*request.args) for request in requests]
        self._count_truncated("generate_until", needed)
        answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        return answers

    def _tokens_to_generate(self, prompt: str, options: dict[str, Any]) -> int:
        normalized: dict[str, Any] = dict(normalize_gen_kwargs(options, self.max_gen_toks))
        return len(self.tok_encode(prompt)) + int(normalized["max_gen_toks"])

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, Tokens, Tokens]], *args: Any, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """HFLM's, after counting what it will cut; the windows of `loglikelihood_rolling` always fit."""
        longest = max((len(continuation) for _, _, continuation in requests), default=0)
        if longest > self.max_length:
            raise ValueError(
                f"a continuation of {longest} tokens cannot be scored by a model of {self.max_length}: "
                "raise factor or max_length, or take a task that scores by loglikelihood_rolling"
            )
        # the last token is only predicted, never read
        self._count_truncated("loglikelihood", [len(c) + len(continuation) - 1 for _, c, continuation in requests])
        scores: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, *args, **kwargs)
        return scores

    def _count_truncated(self, kind: str, needed: Sequence[int]) -> None:
        over = [tokens for tokens in needed if tokens > self.max_length]
        if not over:
            return
        self.truncated[kind] += len(over)
        if self._cache is not None:
            self._cache[_CACHE_TRUNCATED] = True
        warnings.warn(
            f"{len(over)} of {len(needed)} {kind} requests are longer than the model's {self.max_length} "
            f"tokens (up to {max(over)}) and lose their beginning: raise factor or max_length, "
            "or ask for shorter texts",
            TruncationWarning,
            stacklevel=3,
        )

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuses a response cache (`--use_cache`) of another model or scheme: it is keyed by text alone."""
        if cache_hook.dbdict is not None:
            self._claim(cache_hook.dbdict)
        super().set_cache_hook(cache_hook)

    def _claim(self, cache: MutableMapping[str, Any]) -> None:
        mine = json.dumps(self._identity(), sort_keys=True)
        owner = cache.get(_CACHE_OWNER)
        if owner is None and len(cache) == 0:
            cache[_CACHE_OWNER] = mine
        elif owner != mine:
            raise ValueError(
                f"the response cache {getattr(cache, 'filename', '')} holds answers of "
                f"{owner or 'an unknown model'}, not of {mine}: "
                "give every model and scheme its own --use_cache path"
            )
        self._cache = cache
        if _CACHE_TRUNCATED in cache:
            warnings.warn(
                "the response cache holds answers to truncated requests; those that are answered from it are "
                "not counted again",
                TruncationWarning,
                stacklevel=3,
            )

    def _identity(self) -> dict[str, Any]:
        name = self.pretrained if isinstance(self.pretrained, str) else self.config.name_or_path
        checkpoint = {"pretrained": name, "revision": self.revision, "peft": self.peft, "delta": self.delta}
        return checkpoint | self.rope() | {"dtype": str(self.model.dtype), "harness_max_length": self.max_length}


register_model("rope-hf")(RopeHFLM)
