"""The doctor on a loaded model: its config as it is in memory, and the frequencies that its modules rotate with."""

from __future__ import annotations

from torch import nn

from rope_scaling.doctor import Facts, Finding, examine
from rope_scaling.doctor.facts import Live, Tensors
from rope_scaling.patches.discover import RotarySite, find_rotary, frequency_buffers, is_axial
from rope_scaling.patches.state import native_state


def inspect_model(model: nn.Module, *, max_length: int | None = None) -> list[Finding]:
    """What is wrong with the RoPE of a loaded model, worst first; the model is left as it is.

    Args:
        model: A Transformers model.
        max_length: A length that is wished for, in tokens.

    Raises:
        TypeError: It has no rotary embedding.
        ValueError: It has one that is not understood.
    """
    return examine(facts_of_model(model, max_length=max_length))


def facts_of_model(model: nn.Module, *, max_length: int | None = None) -> Facts:
    """What the doctor's rules look at, read from a loaded model."""
    sites = [site for site in find_rotary(model) if not is_axial(site.module)]
    if not sites:
        raise TypeError(f"{type(model).__name__} has no rotary embedding but that of image towers: inspect its files")
    config = sites[0].config
    generation = getattr(model, "generation_config", None)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return Facts(
        source="CHECKPOINT",
        config=config.to_dict(),
        outer=config.to_dict(),
        resolved=config,
        generation={} if generation is None else generation.to_dict(),
        tensors=Tensors(shapes=shapes),
        live=_live(sites),
        wished=max_length,
    )


def _live(sites: list[RotarySite]) -> Live:
    inv_freq: dict[str, tuple[float, ...]] = {}
    expected: dict[str, tuple[float, ...]] = {}
    dtypes: dict[str, str] = {}
    for site in sites:
        changing = getattr(site.module, "rope_type", "default") in ("dynamic", "longrope")
        native = {} if changing else native_state(type(site.module), site.config).buffers
        for name in frequency_buffers(site.module):
            buffer, meant = site.module.get_buffer(name), native.get(name)
            if buffer.is_meta:
                continue
            place = f"{site.name}.{name}"
            inv_freq[place] = tuple(buffer.detach().double().cpu().tolist())
            dtypes[place] = str(buffer.dtype).removeprefix("torch.")
            if meant is not None:
                expected[place] = tuple(meant.double().tolist())
    return Live(inv_freq, expected, dtypes)
