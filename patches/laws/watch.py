"""Looking into a live model while it runs, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rope_scaling.patches.discover import find_rotary
from rope_scaling.patches.state import read_state, write_state

_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)


@dataclass(frozen=True)
class Attention:
    """What one attention layer compares and mixes for one token: float64, on the CPU, no two share memory.

    Attributes:
        query: (heads, head_dim), after rotation.
        key: (key_heads, head_dim), after rotation.
        value: (value_heads, value_dim).
    """

    query: Tensor
    key: Tensor
    value: Tensor


class _Watch(TorchFunctionMode):
    """Records query, key and value of every attention over one token.

    Such attention is either one call of `scaled_dot_product_attention` or two 4-D products, (heads, 1, head_dim) by
    (heads, head_dim, 1), then (heads, 1, 1) by (heads, 1, value_dim): nothing else in a forward pass has these shapes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Attention] = []
        self._compared: tuple[Tensor, Tensor] | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
            self._keep(named["query"], named["key"], named["value"])
        elif func in _PRODUCTS and len(args) == 2 and args[0].dim() == args[1].dim() == 4:
            self._product(*args)
        return func(*args, **kwargs)

    def _product(self, left: Tensor, right: Tensor) -> None:
        if left.shape[-2] == right.shape[-1] == 1 and left.shape[-1] > 1:
            self._compared = (left, right.transpose(-1, -2))
        elif self._compared is not None and left.shape[-2:] == (1, 1) and right.shape[-2] == 1:
            self._keep(*self._compared, right)
            self._compared = None

    def _keep(self, *vectors: Tensor) -> None:
        if vectors[0].dim() == 4 and vectors[0].shape[-2] == vectors[1].shape[-2] == 1:
            self.found.append(Attention(*(v[0, :, 0].detach().to("cpu", torch.float64, copy=True) for v in vectors)))


@torch.no_grad()
def watch_token(model: nn.Module, position: int, token: int) -> list[Attention]:
    """Every attention of a forward pass over one token at `position`, in the order in which they ran.

    A lone token attends to itself with weight 1 wherever it stands, so each layer sees the very same hidden state at
    every position: whatever differs is the work of the positions. Kernels that are no torch functions
    (flash-attention, flex) are not seen.
    """
    one = torch.ones(1, 1, dtype=torch.long, device=input_device(model))
    watch = _Watch()
    with watch:
        model(one * token, position_ids=one * position, attention_mask=one, use_cache=False)
    return watch.found


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Run a block in eval mode; afterwards training flags and rotary modules are as before."""
    flags = [(module, module.training) for module in model.modules()]
    rotary = [site.module for site in _sites(model)]
    states = [(module, read_state(module, set())) for module in rotary]
    numbers = [{name: buffer.clone() for name, buffer in state.buffers.items()} for _, state in states]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
        for (module, state), held in zip(states, numbers, strict=True):
            write_state(module, state, type(module))  # `dynamic` sets another buffer while it runs,
            for name, buffer in held.items():
                state.buffers[name].copy_(buffer)  # `longrope` writes into the one it has


@contextmanager
def hooked(modules: list[nn.Module], change: Callable[[Any], Any]) -> Iterator[None]:
    """Put `change` on the output of `modules` for the length of a block."""
    with ExitStack() as stack:
        for module in modules:
            hook = module.register_forward_hook(lambda _module, _args, output: change(output))
            stack.callback(hook.remove)
        yield


@contextmanager
def without_rotation(model: nn.Module) -> Iterator[None]:
    """Rotate by nothing for the length of a block: cos is 1 and sin 0, and no attention_factor.

    Raises:
        TypeError: A rotary module gives neither cos and sin nor complex numbers; raised while the model runs.
    """
    with hooked([site.module for site in _sites(model)], _unrotated):
        yield


def input_device(model: nn.Module) -> torch.device:
    """Where a model's token ids must be."""
    return next(model.parameters()).device


def unit_roundoff(model: nn.Module) -> float:
    """Relative distance of neighbouring numbers in the dtype that a model embeds its tokens in."""
    return torch.finfo(model.get_input_embeddings().weight.dtype).eps  # type: ignore[operator]


def _unrotated(output: Any) -> Any:
    if isinstance(output, tuple) and len(output) == 2 and all(isinstance(part, Tensor) for part in output):
        return torch.ones_like(output[0]), torch.zeros_like(output[1])
    if isinstance(output, Tensor) and output.is_complex():
        return torch.ones_like(output)
    raise TypeError("its rotary module gives neither cos and sin nor complex numbers")


def _sites(model: nn.Module) -> list[Any]:
    try:
        return list(find_rotary(model))
    except (TypeError, ValueError):
        return []
