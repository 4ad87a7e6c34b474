"""Where a model takes its input, also one that is spread over devices or whose weights are fetched when needed."""

from __future__ import annotations

from typing import Any

import torch

from rope_scaling.eval.processes import Processes


def input_device(model: torch.nn.Module) -> torch.device:
    """The device that token ids belong on.

    Raises:
        ValueError: The weights are on the meta device, and nothing fetches them.
    """
    device = next(model.parameters()).device
    if device.type != "meta":
        return device
    hooks = [getattr(module, "_hf_hook", None) for module in model.modules()]
    for hook in hooks:  # accelerate's, from the model inwards
        where = _execution_device(hook)
        if where is not None:
            return torch.device(where)
    raise ValueError(
        "the model's weights are on the meta device and nothing fetches them: load them, or spread the model by "
        "accelerate (device_map)"
    )


def _execution_device(hook: Any) -> Any:
    """Where an accelerate hook, or the first of several that says so, sends its module's input."""
    parts = getattr(hook, "hooks", [hook])
    return next((part.execution_device for part in parts if getattr(part, "execution_device", None) is not None), None)


def place_for(device: str | None, processes: Processes) -> str:
    """Where a model is loaded: the device asked for, else a GPU where there is one; what each process was given.

    Raises:
        ValueError: Several processes are asked to use one device, or each to use all.
    """
    if processes.device is None:
        return device or ("cuda" if torch.cuda.is_available() else "cpu")
    own = "cpu" if processes.device.type == "cpu" else str(processes.device)
    if device is None or device == processes.device.type:
        return own
    if device == "auto":
        raise ValueError(
            f"--device auto spreads one model over all devices, and each of these {processes.count} processes has a "
            "model and a device of its own: start a single process, or leave --device out"
        )
    raise ValueError(
        f"--device {device}, but the launcher gave process {processes.index} of {processes.count} {own}: leave "
        "--device out, or start a single process"
    )


def check_there(device: str) -> None:
    """ValueError for a CUDA device that this machine does not have."""
    kind, _, number = device.partition(":")
    count = torch.cuda.device_count()
    if kind == "cuda" and int(number if number.isdigit() else 0) >= count:
        raise ValueError(f"--device {device}: this machine has {count} CUDA devices; use cpu, or leave --device out")
