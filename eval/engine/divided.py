"""lm-eval's Hugging Face model in several processes, each of which answers a part of what all of them are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate.utils import get_max_memory  # type: ignore[import-untyped]

from rope_scaling.eval.devices import input_device
from rope_scaling.eval.engine.division import digest, divide
from rope_scaling.eval.engine.rows import Tokens
from rope_scaling.eval.processes import ALONE, Processes, join_processes

if TYPE_CHECKING:
    HFLM: Any = object  # its registering decorator hides its type
else:
    from lm_eval.models.huggingface import HFLM

Result = TypeVar("Result")


class DividedHFLM(HFLM):  # type: ignore[misc]  # see above
    """HFLM whose processes divide texts, where lm-eval would deal out documents.

    lm-eval hands all requests to every process; each reads its part and is told what the others found. So all of them
    hold the same results, in the order of a single process; questions about one long text stay in one process; and
    there may be fewer documents than processes, which lm-eval's own way does not survive.

    Args:
        pretrained: a checkpoint's name, or a model.
        processes: those that divide the requests; found out for a checkpoint's name, this one alone for a model that
            is made already.
        device_map: "auto" for a model that is larger than a device, as `parallelize=true`.
        options: those of HFLM.
    """

    def __init__(
        self,
        pretrained: str | torch.nn.Module,
        *args: Any,
        processes: Processes | None = None,
        device_map: str | None = None,
        **options: Any,
    ) -> None:
        if device_map is not None:  # HFLM drops it without the other
            options |= {"parallelize": True, "device_map": device_map}
        together = isinstance(pretrained, str) and options.get("tp_plan") is None
        self.processes = processes or (join_processes() if together else ALONE)
        self._dividing = False
        super().__init__(pretrained, *args, **options)
        if self.device.type == "meta":
            self._device = input_device(self.model)
        self._rank, self._world_size = 0, 1  # as lm-eval has it where a model divides the requests itself

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As HFLM's, one progress bar for all processes."""
        scores: list[tuple[float, bool]] = super().loglikelihood(
            requests, disable_tqdm=disable_tqdm or not self.processes.is_first
        )
        return scores

    def _get_accelerate_args(self, *args: Any, **options: Any) -> dict[str, Any]:
        """HFLM's, but what does not fit on GPUs goes into memory before it goes to the disk."""
        found: dict[str, Any] = super()._get_accelerate_args(*args, **options)
        if found.get("device_map") == "auto" and found["max_memory"] is not None:
            found["max_memory"].setdefault("cpu", get_max_memory()["cpu"])
        return found

    def _divided(
        self,
        texts: Sequence[Tokens],
        work: Callable[[Sequence[int]], Mapping[int, Result]],
        steps: Sequence[int] | None = None,
    ) -> dict[int, Result]:
        """What `work` makes of every text, of which each process reads its part.

        Args:
            texts: what is to be read.
            work: handed the numbers of this process's texts.
            steps: tokens to generate after each text; none unless given.
        """
        if self.processes.count == 1 or self._dividing:
            return dict(work(range(len(texts))))
        self._dividing = True  # HFLM's own ways call one another
        try:
            found = self.processes.share(digest(texts), divide(texts, self.processes.count, steps), work)
        finally:
            self._dividing = False
        self._divided_once()
        return found

    def _divided_once(self) -> None:
        """Called in every process when all have done their part."""
