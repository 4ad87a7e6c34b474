"""`generate()` of a model whose rows have scales of their own: it knows how long each row may become, and says so."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import GenerationMixin

from rope_scaling.patches.dynamic.plans import homes_in, make_plan
from rope_scaling.patches.dynamic.running import running

_METHODS = (
    "generate",
    "_prepare_cache_for_generation",
    "_get_stopping_criteria",
    "init_continuous_batching",
)


class Planned:
    """A method of a model, in the model's own `__dict__`: it goes with copies of the model."""

    def __init__(self, model: nn.Module, name: str) -> None:
        self.model, self.name = model, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the model's own method does, and plan."""
        if self.name == "init_continuous_batching":
            raise ValueError(
                "continuous batching lays many sequences into one row, and dynamic scaling gives each row one scale: "
                "use generate(), or a static scheme (patch_model with dynamic=False)"
            )
        own = getattr(type(self.model), self.name)
        if self.name == "generate":
            return _generate(self.model, own, args, kwargs)
        made = own(self.model, *args, **kwargs)
        if self.name == "_get_stopping_criteria":
            _reach_further(made)
        else:
            _plan(self.model, *args, **kwargs)
        return made


def install_planning(model: nn.Module) -> None:
    """Let every model inside that generates plan."""
    for module in model.modules():
        if isinstance(module, GenerationMixin) and homes_in(module):
            vars(module).update({name: Planned(module, name) for name in _METHODS if hasattr(type(module), name)})


def remove_planning(model: nn.Module) -> None:
    """Give every model its own methods back."""
    for module in model.modules():
        for name in _METHODS:
            if isinstance(vars(module).get(name), Planned):
                del vars(module)[name]


def _generate(model: nn.Module, own: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The model's own `generate`; a plan made inside ends with it."""
    before = running.plan
    try:
        return own(model, *args, **kwargs)
    finally:
        running.plan = before


def _reach_further(criteria: Any) -> None:
    """Let nobody be warned of the config's length, which a dynamic patch leaves as it was."""
    for one in criteria:
        if getattr(one, "max_position_embeddings", None) is not None:
            one.max_position_embeddings = None


def _plan(
    model: nn.Module,
    generation_config: Any,
    model_kwargs: dict[str, Any],
    generation_mode: Any,
    batch_size: int,
    max_cache_length: int,
    *_: Any,
    **__: Any,
) -> None:
    """Plan each row for its own tokens and those that may be generated; padding is none of them.

    A plan of the user's own, for at least as much, stands.
    """
    longest = max_cache_length + 1
    mask = model_kwargs.get("attention_mask")
    lengths: Any = longest
    if isinstance(mask, Tensor) and mask.dim() == 2:
        longest = max(longest, mask.shape[1])
        lengths = longest - (mask == 0).sum(-1)
    homes = homes_in(model)
    outer = running.plan
    if outer is not None and outer.homes == homes and outer.longest >= longest:
        return
    running.plan = make_plan(homes, lengths, longest)
