"""What remapped attention should give on any architecture: the model's own code, asked for every relative position.

Nothing is known here of how a model rotates. Each attention module is called once for every relative position r with
all its tokens at r, and its queries are compared with its keys at 0: that is the score of two tokens at the distance r.
An explicit matrix says which distance each pair has.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import sdpa_mask

NAME = "tests-by-relative-position"


class RecordedError(Exception):
    """Ends an attention module's forward once its queries and keys are known."""


class ByRelativePosition:
    """A model whose full attention sees its tokens at the relative positions of a matrix.

    Args:
        model: An unpatched model.
        positions: (tokens, tokens), NaN for what follows.
        sharpness: (tokens,), what the scores of each query are multiplied by.
    """

    def __init__(self, model: PreTrainedModel, positions: Tensor, sharpness: Tensor) -> None:
        self.model, self.positions, self.sharpness = model, positions, sharpness
        self.rotary: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any], Any]] = []
        self.calls: dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self.recorded: tuple[Tensor, Tensor] | None = None
        self.recording = False
        self.put: float | None = None
        self.remapped: set[nn.Module] = set()
        AttentionInterface.register(NAME, self.attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """(rows, tokens, vocabulary) of one forward without a cache."""
        with self._hooked():
            out: Tensor = self.model(ids, use_cache=False).logits
        return out

    def attention(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **given: Any
    ) -> tuple[Tensor, None]:
        """Softmax over all scores at once, in float64."""
        if self.recording:
            self.recorded = query, key
            raise RecordedError
        count = query.shape[2]
        causal = torch.ones(count, count, dtype=torch.bool).tril()
        seen = causal if attention_mask is None else attention_mask[0, 0]
        scores = (query.double() @ _of_each_head(key, query).double().mT)[0]  # (heads, tokens, tokens)
        if torch.equal(seen, causal):  # no window: the whole text is seen
            scores = self._scores(module, scores)
        scores = scores * (query.shape[-1] ** -0.5 if given.get("scaling") is None else given["scaling"])
        if given.get("softcap") is not None:
            scores = given["softcap"] * (scores / given["softcap"]).tanh()
        scores = scores.masked_fill(~seen, -torch.inf)
        if given.get("s_aux") is not None:
            sinks = given["s_aux"].double().reshape(-1, 1, 1).expand(-1, count, 1)
            weights = torch.cat((scores, sinks), dim=-1).softmax(-1)[..., :-1]
        else:
            weights = scores.softmax(-1)
        out = weights @ _of_each_head(value, query)[0].double()
        return out.transpose(0, 1)[None].to(query.dtype).contiguous(), None

    def _scores(self, module: nn.Module, scores: Tensor) -> Tensor:
        """The same with every pair at the distance that the matrix says, multiplied by its query's sharpness."""
        unturned, origin = self._at(module, 0)
        if torch.equal(self._at(module, 1)[0], unturned):
            return scores  # a layer without rotation
        self.remapped.add(module)
        turned = torch.zeros_like(scores)
        for distance in self.positions[~self.positions.isnan()].unique().tolist():
            query, _ = self._at(module, distance)
            own = (query.double() @ _of_each_head(origin, query).double().mT)[0]
            turned = torch.where(self.positions == distance, own, turned)
        return turned * self.sharpness[:, None]

    def _at(self, module: nn.Module, position: float) -> tuple[Tensor, Tensor]:
        """Queries and keys of a module with all tokens at one position."""
        args, kwargs = self.calls[module]
        held, self.calls = self.calls, {}
        told, self.rotary = self.rotary, []
        self.recording, self.put = True, position
        try:
            moved = {id(out): rotary(*of, **also) for rotary, of, also, out in told}
            swap = _swap(moved, told)
            module(*[swap(one) for one in args], **{key: swap(one) for key, one in kwargs.items()})
        except RecordedError:
            assert self.recorded is not None
            return self.recorded
        finally:
            self.recording, self.put, self.calls, self.rotary = False, None, held, told
        raise AssertionError(f"{type(module).__name__} did not call its attention")

    @contextlib.contextmanager
    def _hooked(self) -> Iterator[None]:
        def put(rotary: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self.put is None:
                return None
            if "position_ids" in kwargs:
                return args, kwargs | {"position_ids": _put(kwargs["position_ids"], self.put)}
            x, given, *rest = args
            return (x, _put(given, self.put), *rest), kwargs

        def note(rotary: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            if self.put is None:
                self.rotary.append((rotary, args, kwargs, out))

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self.recording:
                self.calls[module] = args, kwargs

        handles = []
        for module in self.model.modules():
            if any(name.endswith("inv_freq") for name in module._buffers):
                handles += [
                    module.register_forward_pre_hook(put, with_kwargs=True),
                    module.register_forward_hook(note, with_kwargs=True),
                ]
            elif isinstance(vars(module).get("config"), PreTrainedConfig) and module is not self.model:
                handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        configs = {id(c): c for m in self.model.modules() if isinstance(c := vars(m).get("config"), PreTrainedConfig)}
        before = [(config, config._attn_implementation_internal) for config in configs.values()]
        for config in configs.values():
            config._attn_implementation_internal = NAME
        try:
            yield
        finally:
            for config, name in before:
                config._attn_implementation_internal = name
            for handle in handles:
                handle.remove()


def _swap(moved: dict[int, Any], told: list[Any]) -> Any:
    """Puts what rotary modules give at another position in place of what they gave."""
    of_part = {}
    for _, _, _, out in told:
        for one, other in zip(_parts(out), _parts(moved[id(out)]), strict=True):
            of_part[id(one)] = other

    def swap(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(swap(one) for one in value)
        if isinstance(value, dict):
            return {key: swap(one) for key, one in value.items()}
        return of_part.get(id(value), value)

    return swap


def _parts(out: Any) -> tuple[Any, ...]:
    return out if isinstance(out, tuple) else (out,)


def _of_each_head(key: Tensor, query: Tensor) -> Tensor:
    return key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)


def log_sharpness(count: int, trained: int) -> Tensor:
    """log(tokens seen) / log(L) past L."""
    seen = [max(index + 1, trained) if index >= trained else trained for index in range(count)]
    return torch.tensor([math.log(one) / math.log(trained) for one in seen], dtype=torch.float64)


def self_extend_positions(count: int, trained: int, window: int) -> Tensor:
    """The relative position of each pair under self-extend as we set it up, NaN for what follows; written by hand."""
    matrix = torch.full((count, count), torch.nan, dtype=torch.float64)
    for i in range(count):
        group = next(g for g in range(1, count) if i < g * (trained - window + window // g))
        for j in range(i + 1):
            far = i - j >= window and i >= trained
            matrix[i, j] = i // group - j // group + window - window // group if far else i - j
    return matrix


def _put(given: Tensor, position: float) -> Tensor:
    return torch.full(given.shape, position, dtype=torch.float32)
