"""Which engines serve an extended checkpoint, by which command, and which cannot and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rope_scaling.extend.engines import ENGINES, Engine, Target

ALL = "all"


@dataclass(frozen=True)
class Serving:
    """What one engine does with the checkpoint.

    Attributes:
        engine: Its name.
        refusal: Why it cannot rotate as asked; None where it does.
        command: How it is started, with PATH for the checkpoint.
        on_source: How it serves the source itself with the same RoPE, with SOURCE for it; None where flags cannot say.
    """

    engine: str
    refusal: str | None
    command: str
    on_source: str | None = None

    def at(self, path: str) -> str:
        """The command for a checkpoint at `path`, which is quoted for a shell."""
        return self.command.replace("PATH", path)


def asked_engines(names: Sequence[str]) -> list[str]:
    """The engines to write for, Transformers first and always.

    Raises:
        ValueError: An engine that is not known.
    """
    for name in names:
        if name not in ENGINES and name != ALL:
            raise ValueError(f"unknown engine {name!r} ({', '.join(ENGINES)}, {ALL})")
    return [name for name in ENGINES if name == "transformers" or name in names or ALL in names]


def plan_serving(target: Target, names: Sequence[str]) -> tuple[dict[str, object], list[Serving]]:
    """The words to add to `rope_parameters`, and what each engine then does.

    Raises:
        ValueError: An engine that was asked for by name cannot rotate as the config means it.
    """
    words: dict[str, object] = {}
    for name in asked_engines(names):
        if target.is_plain_text and target.model_type in ENGINES[name].read:
            words |= ENGINES[name].words(target)
    told = replace(target, parameters={**target.parameters, **words})
    served = [_serving(ENGINES[name], told) for name in asked_engines(names)]
    for one in served:
        if one.refusal is not None and one.engine in names:
            raise ValueError(f"{one.engine} cannot serve this: {one.refusal}; nothing was written")
    return words, served


def _serving(engine: Engine, target: Target) -> Serving:
    refusal = engine.refusal(target)
    on_source = engine.on_source(target, "SOURCE") if refusal is None else None
    return Serving(engine.name, refusal, engine.command(target, "PATH"), on_source)
