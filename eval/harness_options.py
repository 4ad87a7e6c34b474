"""Options of `rope-hf` as flags of lm-eval's command line: `--cache-gb` and `--allow-truncation`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

_OURS = {"allow_truncation": "--allow-truncation", "cache_gb": "--cache-gb"}


def add_options(cli: Any) -> None:
    """Give lm-eval's `run` our flags."""
    run: ArgumentParser = cli._subparsers.choices["run"]
    group = run.add_argument_group("rope-hf")
    group.add_argument(
        "--allow-truncation",
        action="store_true",
        help="Let requests longer than the model lose their beginning, counted, instead of failing the run",
    )
    group.add_argument(
        "--cache-gb",
        type=float,
        metavar="GB",
        help="Billions of bytes of keys and values at most (default: what batches of --batch_size take)",
    )


def move_options(args: Namespace) -> None:
    """Make our flags arguments of the model, where lm-eval looks for them.

    Raises:
        ValueError: Another model is asked for, which would not read them.
    """
    given = {name: vars(args).pop(name, None) for name in _OURS}
    given = {name: value for name, value in given.items() if value not in (None, False)}
    if not given:
        return
    if (model := model_asked(args)) != "rope-hf":
        flags = " and ".join(_OURS[name] for name in given)
        raise ValueError(f"{flags} are for --model rope-hf, and the model is {model!r}")
    args.model_args = _as_dict(args.model_args or said_in_file(args).get("model_args")) | given


def model_asked(args: Namespace) -> str:
    """The name of the model that a run is for."""
    return str(args.model or said_in_file(args).get("model") or "hf")


def said_in_file(args: Namespace) -> dict[str, Any]:
    """What the `--config` file says, nothing without one."""
    if not getattr(args, "config", None):
        return {}
    from lm_eval.config.evaluate_config import EvaluatorConfig

    said: dict[str, Any] = EvaluatorConfig.load_yaml_config(args.config)
    return said


def _as_dict(model_args: str | dict[str, Any] | None) -> dict[str, Any]:
    from lm_eval.utils import simple_parse_args_string

    if isinstance(model_args, str):
        parsed: dict[str, Any] = simple_parse_args_string(model_args)
        return parsed
    return dict(model_args or {})
