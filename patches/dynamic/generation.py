"""`generate()` of a model whose rows have scales of their own: it knows how long each row may become, and says so."""

from __future__ import annotations

import copy
import functools
import weakref
from dataclasses import replace
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

    def __init__(self, model: nn.Module, name: str, own: Any = None) -> None:
        # a reference back would keep the model until Python looks for cycles
        self._model, self.name, self.own = weakref.ref(model), name, own
        functools.update_wrapper(self, own or getattr(type(model), name))

    @property
    def model(self) -> Any:
        """The model."""
        return self._model()

    def __deepcopy__(self, memo: dict[int, Any]) -> Planned:
        return Planned(memo.get(id(self.model), self.model), self.name, copy.deepcopy(self.own, memo))

    def __reduce__(self) -> Any:
        return Planned, (self.model, self.name, self.own)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the model's own method does, and plan."""
        if self.name == "init_continuous_batching":
            raise ValueError(
                "continuous batching lays many sequences into one row, and dynamic scaling gives each row one scale: "
                "use generate(), or a static scheme (patch_model with dynamic=False)"
            )
        own = self.own or functools.partial(getattr(type(self.model), self.name), self.model)
        if self.name == "generate":
            return _generate(own, args, kwargs)
        made = own(*args, **kwargs)
        if self.name == "_get_stopping_criteria":
            _reach_further(made)
        else:
            _plan(self.model, *args, **kwargs)
        return made


def install_planning(model: nn.Module) -> None:
    """Let every model inside that generates plan."""
    for module in model.modules():
        if isinstance(module, GenerationMixin) and homes_in(module):
            names = [name for name in _METHODS if hasattr(type(module), name)]
            vars(module).update({name: Planned(module, name, vars(module).get(name)) for name in names})


def remove_planning(model: nn.Module) -> None:
    """Give every model its own methods back."""
    for module in model.modules():
        for name in _METHODS:
            held = vars(module).get(name)
            if isinstance(held, Planned):
                del vars(module)[name]
                if held.own is not None:
                    vars(module)[name] = held.own


def _generate(own: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The model's own `generate`; a plan made inside ends with it."""
    before = running.plan, running.ahead
    running.ahead = _ahead(args, kwargs)
    try:
        return own(*args, **kwargs)
    finally:
        running.plan, running.ahead = before


def _ahead(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Tokens that a mask tells of beyond the ids: a cache holds them."""
    ids = args[0] if args else kwargs.get("inputs", kwargs.get("input_ids"))
    mask = kwargs.get("attention_mask")
    if kwargs.get("past_key_values") is None or not isinstance(ids, Tensor) or not isinstance(mask, Tensor):
        return 0
    return max(0, mask.shape[-1] - ids.shape[-1])


def _reach_further(criteria: Any) -> None:
    """Let nobody be warned of the config's length, which a dynamic patch leaves as it was."""
    for one in criteria:
        if getattr(one, "max_position_embeddings", None) is not None:
            one.max_position_embeddings = None


def _plan(
    model: Any,
    generation_config: Any,
    model_kwargs: dict[str, Any],
    generation_mode: Any,
    batch_size: int,
    max_cache_length: int,
    *_: Any,
    **__: Any,
) -> None:
    """Plan each row for its own tokens and those that may be generated; padding is none of them.

    A plan of the user's own holds as well, where it is for more.
    """
    longest = max_cache_length + 1 + running.ahead
    # of an encoder-decoder the other mask is about what the encoder reads
    mask = model_kwargs.get("decoder_attention_mask" if model.config.is_encoder_decoder else "attention_mask")
    lengths: Any = longest
    if isinstance(mask, Tensor) and mask.dim() == 2:
        longest = max(longest, mask.shape[1])
        lengths = longest - (mask == 0).sum(-1)
    plan = make_plan(homes_in(model), lengths, running.plan)
    spare = generation_config.prompt_lookup_num_tokens or 0  # candidates beyond max_length, which are taken back
    running.plan = replace(plan, shortest=longest, joined=True, spare=spare)
