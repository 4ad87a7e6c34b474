"""lm-eval's vLLM model, which refuses requests that it would cut."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rope_scaling.eval.truncation import Truncation

TOGETHER = 64
"""Questions handed to vLLM at a time where nobody says: so many are lost if the run is stopped."""


def vllm_arguments(
    checkpoint: str, overrides: Mapping[str, Any], length: int, dtype: str, batch_size: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of lm-eval's vLLM model.

    Args:
        checkpoint: folder or name.
        overrides: of the config.
        length: of the longest text; vLLM generates a token even where it only scores, so one more is asked for.
        dtype: as for `rope-scaling eval`.
        batch_size: questions at a time.
        options: others, such as `tensor_parallel_size`.

    Raises:
        ValueError: An option says what this says.
    """
    own = {
        "pretrained": checkpoint,
        "dtype": dtype,
        "max_model_len": length + 1,
        "hf_overrides": dict(overrides),
        "batch_size": batch_size if batch_size > 1 else TOGETHER,
    }
    elsewhere = {"max_length": "--lengths", "rope_scaling": "--scheme", "rope_theta": "--scheme"}
    elsewhere |= {"pretrained": "the checkpoint", "dtype": "--dtype", "max_model_len": "--lengths"}
    elsewhere |= {"hf_overrides": "--scheme", "batch_size": "--batch-size"}
    for name in options:
        if name in elsewhere:
            raise ValueError(f"--backend-args {name}: {elsewhere[name]} says it")
    return {**own, **options}


def require_vllm() -> None:
    """ModuleNotFoundError, with the way out, unless vLLM is installed."""
    if importlib.util.find_spec("vllm") is None:
        raise ModuleNotFoundError("vLLM is not installed: pip install 'lm-eval[vllm]'", name="vllm")


def make_model(arguments: Mapping[str, Any], beyond: bool) -> Any:
    """Start vLLM.

    Args:
        arguments: of lm-eval's model.
        beyond: the token that it generates may lie past the length that the config declares; it is never read.
    """
    if beyond:
        os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"
    return _model_class()(**arguments)


def _model_class() -> Any:
    """Return lm-eval's class, whose module imports vLLM, with requests that are too long refused."""
    from lm_eval.models.utils import normalize_gen_kwargs

    VLLM: Any = importlib.import_module("lm_eval.models.vllm_causallms").VLLM  # noqa: N806  # a class

    class RopeVLLM(VLLM):  # type: ignore[misc]  # see above
        """VLLM that cuts nothing."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.truncation_policy = Truncation(allowed=False)

        @property
        def truncated(self) -> Counter[str]:
            """Nothing: such requests are refused."""
            return self.truncation_policy.counts

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            needed = []
            for prompt, options in (request.args for request in requests):
                told: dict[str, Any] = dict(normalize_gen_kwargs(options, self.max_gen_toks))
                needed.append(len(self.tok_encode(prompt)) + told["max_gen_toks"])
            self.truncation_policy.check("generate_until", needed, self.max_length)
            answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
            return answers

        def _loglikelihood_tokens(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
            needed = [len(context) + len(continuation) for _, context, continuation in requests]
            self.truncation_policy.check("loglikelihood", needed, self.max_length - 1)
            return super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm)

    return RopeVLLM
