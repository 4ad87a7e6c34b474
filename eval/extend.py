"""The command `extend`: which of its jobs is asked for, and what to say of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from rope_scaling.extend.folder import Source, Written, undo_folder
from rope_scaling.extend.gguf.copy import extend_gguf, open_gguf, trained_metadata, undo_gguf
from rope_scaling.extend.gguf.rope import plan_gguf, server_flags
from rope_scaling.extend.place import Tick
from rope_scaling.extend.serving import ALL, Serving
from rope_scaling.extend.where import find_folder, is_gguf
from rope_scaling.patches.offline import extend_checkpoint
from rope_scaling.schemes import parse_scheme


@dataclass(frozen=True)
class ExtendJob:
    """What the command line asked for."""

    checkpoint: str
    out: Path
    scheme: str | None = None
    factor: float | None = None
    max_length: int | None = None
    engines: Sequence[str] = ()
    layer_types: Sequence[str] = ()
    on_scaled: str | None = None
    original_max_length: int | None = None
    undo: bool = False
    force: bool = False
    copy: bool = False
    trust_remote_code: bool = False
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.undo == (self.scheme is not None):
            raise ValueError("give either --scheme, such as yarn:factor=4, or --undo")


def run_extend(job: ExtendJob, out: Console, err: Console) -> None:
    """Do the job; results go to `out`, warnings and progress to `err`.

    Raises:
        TypeError: The model has no rotary embedding.
        ValueError: The job cannot be done as asked; nothing was written.
        OSError: The disk is full or cannot be written.
    """
    with _progress(err) as tick:
        (_run_gguf if is_gguf(job.checkpoint) else _run_folder)(job, out, err, tick)


def _run_folder(job: ExtendJob, out: Console, err: Console, tick: Tick) -> None:
    folder = find_folder(job.checkpoint, job.revision)
    if job.undo:
        _tell_files(out, err, job.out, undo_folder(folder, job.out, force=job.force, copy=job.copy, tick=tick))
        return
    extension, written = extend_checkpoint(
        Source.read(folder, None if Path(job.checkpoint).exists() else job.checkpoint),
        job.out,
        parse_scheme(job.scheme or ""),
        job.engines,
        trust_remote_code=job.trust_remote_code,
        force=job.force,
        copy_weights=job.copy,
        tick=tick,
        factor=job.factor,
        max_length=job.max_length,
        original_max_length=job.original_max_length,
        on_scaled=job.on_scaled,
        layer_types=tuple(job.layer_types) or None,
    )
    _tell_files(out, err, job.out, written)
    _say(out, f"{extension.old} -> {extension.new} tokens ({extension.told})")
    for served in extension.served:
        _tell_engine(out, served, job.out, job.checkpoint)


def _run_gguf(job: ExtendJob, out: Console, err: Console, tick: Tick) -> None:
    other = sorted(set(job.engines) - {"llama.cpp", ALL})
    if other or job.layer_types:
        raise ValueError(f"a GGUF file is for llama.cpp: leave out {', '.join(other) or 'layer types'}")
    source = open_gguf(Path(job.checkpoint))
    if job.undo:
        undo_gguf(source, job.out, force=job.force, tick=tick)
        _say(out, f"wrote {job.out}")
        return
    plan = plan_gguf(
        trained_metadata(source),
        source.tensors,
        parse_scheme(job.scheme or ""),
        factor=job.factor,
        max_length=job.max_length,
        original_max_length=job.original_max_length,
        on_scaled=job.on_scaled,
    )
    extend_gguf(source, plan, job.out, force=job.force, tick=tick)
    _say(out, f"wrote {job.out}")
    _say(out, f"{plan.original} -> {plan.length} tokens ({plan.scheme})")
    flags = server_flags(plan)
    on_source = None if flags is None else f"llama-server -m SOURCE {flags}-c {plan.length}"
    served = Serving("llama.cpp", None, f"llama-server -m PATH -c {plan.length}", on_source)
    _tell_engine(out, served, job.out, job.checkpoint)


def _tell_files(out: Console, err: Console, path: Path, written: Written) -> None:
    for warning in written.warnings:
        _say(err, f"Warning: {warning}")
    files = ", ".join(f"{count} files {how}" for how, count in sorted(written.placed.items()))
    _say(out, f"wrote {path}" + (f" ({files})" if files else ""))


def _tell_engine(out: Console, served: Serving, path: Path, source: str) -> None:
    told = served.at(shlex.quote(str(path))) if served.refusal is None else f"no: {served.refusal}"
    _say(out, f"{served.engine}: {told}")
    if served.on_source is not None:
        _say(out, f"  or the source itself: {served.on_source.replace('SOURCE', shlex.quote(source))}")


def _say(console: Console, text: str) -> None:
    """Print it as it is: commands are to be copied, so nothing is wrapped or coloured."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress(err: Console) -> Iterator[Tick]:
    """A bar that appears with the first bytes that have to be copied."""
    columns = (TextColumn("copying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=err, transient=True)
    task = bar.add_task("", total=None)

    def tick(copied: int) -> None:
        bar.start()
        bar.advance(task, copied)

    try:
        yield tick
    finally:
        if bar.live.is_started:
            bar.stop()
