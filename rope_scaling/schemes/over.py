"""The frequency scheme that a remap scheme stands on."""

from __future__ import annotations

from rope_scaling.schemes.base import Scheme


def scheme_over(text: str) -> Scheme:
    """The scheme of an `over` option, such as "ntk:factor=2"."""
    from rope_scaling.schemes.spec import parse_scheme  # it knows every scheme, so also those that know this file

    return parse_scheme(text)


def check_over(name: str, over: object) -> None:
    """ValueError unless `over` is None or text that names a static frequency scheme and its factor."""
    if over is None:
        return
    if not isinstance(over, str):
        raise ValueError(f'over must be the text of a frequency scheme, such as "ntk:factor=2", got {over!r}')
    from rope_scaling.schemes.by_length import DynamicScaling
    from rope_scaling.schemes.remapped import is_remap

    scheme = scheme_over(over)
    if is_remap(scheme) or isinstance(scheme, DynamicScaling) or scheme.name == "dynamic":
        raise ValueError(
            f"{name} cannot stand over {over!r}: it must be a static frequency scheme such as ntk:factor=2 "
            "(one remap scheme is enough, and frequencies that follow the length would change keys in a cache)"
        )
    if scheme.factor is None:
        raise ValueError(f"over={over!r} says no factor: how much of the length is its part, as in {over}:factor=2?")
