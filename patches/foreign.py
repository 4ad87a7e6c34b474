"""Signs that another library has changed how a model rotates, found before anything is touched.

What a function is called and where it was defined is all that can be seen: a replacement that copies both, an attention
kernel behind Transformers' attention interface, and whatever hooks do to queries and keys cannot.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

from torch import nn

from rope_scaling.patches.discover import RotarySite
from rope_scaling.patches.rotary import is_patched_class
from rope_scaling.record import RECORD, read_record

_KNOWN = ("transformers", "torch", "accelerate", "kernels", __name__.partition(".")[0])
"""Packages whose wrappers call what they wrap: Transformers itself, FSDP, offloading, kernels from the hub."""


def check_untouched(model: nn.Module, sites: list[RotarySite]) -> None:
    """ValueError where another library has replaced what a model rotates with; the message names it.

    Looked at are the rotary modules, the modules that hold them, every attention in these, and the functions that
    apply a rotation in the files where all this is written.
    """
    check_whole(sites)
    modules = dict(_rotating(model, sites))
    for name, module in modules.items():
        stranger = _foreign_forward(module) or _foreign_class(module, model, name)
        if stranger is not None:
            raise ValueError(
                f"{name or type(model).__name__} ({type(module).__name__}) was changed by another library: {stranger}. "
                "Whether it still rotates by the frequencies in the model cannot be known: load the model without that "
                "change (or make it after patching, if it takes cos and sin as they are given)"
            )
    for home in sorted({_home(module).__module__ for module in modules.values()}):
        for function in _foreign_functions(home):
            raise ValueError(
                f"{home}.{function} was replaced by another library, for every model of this kind. Whether it still "
                "rotates by the frequencies in the model cannot be known: undo it (Liger: rope=False), or replace it "
                "after patching, if it takes cos and sin as they are given"
            )


def check_whole(sites: list[RotarySite]) -> None:
    """ValueError where a model is patched in one place and not in another, so that undoing it would be a guess."""
    for site in sites:
        if is_patched_class(type(site.module)) and read_record(site.config) is None:
            raise ValueError(
                f"{site.name} is patched, but config.{RECORD}, which says what was there before, is gone: "
                "the model is half patched; load it again"
            )


def _rotating(model: nn.Module, sites: list[RotarySite]) -> Iterator[tuple[str, nn.Module]]:
    for site in sites:
        yield site.name.rpartition(".")[0], site.parent
        yield site.name, site.module
    around = tuple(f"{above}." if above else "" for above in (site.name.rpartition(".")[0] for site in sites))
    for name, module in model.named_modules():
        if "Attention" in type(module).__name__ and name.startswith(around):
            yield name, module


def _foreign_forward(module: nn.Module) -> str | None:
    """Where the `forward` of a module comes from, if from another library."""
    if _root(type(module).__module__) == "torch":
        return None  # a list of rotary modules, the attention of a pooling head
    own = vars(module).get("_old_forward") or vars(module).get("forward")  # the first is what accelerate has wrapped
    owner = _home(module)
    if own is None:
        owner = next(cls for cls in type(module).__mro__ if "forward" in vars(cls) and not is_patched_class(cls))
        own = vars(owner)["forward"]
    origin = _origin(own)
    return None if _belongs(origin, owner.__module__) else f"its forward comes from {origin}"


def _foreign_class(module: nn.Module, model: nn.Module, name: str) -> str | None:
    """Where the class of a module inside one of Transformers' own comes from, if from another library."""
    if not name:
        return None
    above = (model.get_submodule(".".join(name.split(".")[:i])) for i in reversed(range(name.count(".") + 1)))
    parent = next((_home(one) for one in above if not isinstance(one, nn.ModuleList)), type(model))
    home = _home(module)
    if _root(parent.__module__) != "transformers" or _root(home.__module__) in _KNOWN:
        return None
    return f"its class comes from {home.__module__}"


def _foreign_functions(home: str) -> Iterator[str]:
    if _root(home) != "transformers":
        return
    for name, value in vars(sys.modules[home]).items():
        applies = name == "rotate_half" or (name.startswith("apply_") and ("rotary" in name or "rope" in name))
        if applies and callable(value) and not _belongs(_origin(value), home):
            yield name


def _home(module: nn.Module) -> type[nn.Module]:
    """The class that a module was made of, before this library, FSDP and the like derived from it."""
    classes = [cls for cls in type(module).__mro__ if _root(cls.__module__) not in ("torch", "builtins", _KNOWN[-1])]
    return next((cls for cls in classes if not is_patched_class(cls)), type(module))


def _origin(function: Callable[..., Any]) -> str:
    inner: Any = inspect.unwrap(function)
    if isinstance(inner, MethodType):
        inner = inspect.unwrap(inner.__func__)
    return str(getattr(inner, "__module__", None))


def _belongs(origin: str, home: str) -> bool:
    return origin == home or _root(origin) in _KNOWN


def _root(module: str) -> str:
    return module.partition(".")[0]
