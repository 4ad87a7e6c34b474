"""From a checkpoint and what it is asked to tables on the terminal and a record on disk."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from rich.console import Console

from rope_scaling.eval.compare import trained_length
from rope_scaling.eval.devices import check_there, place_for
from rope_scaling.eval.evaluator import require_lm_eval
from rope_scaling.eval.processes import Processes, join_processes
from rope_scaling.eval.runner.job import Job
from rope_scaling.eval.runner.keeping import Keeping
from rope_scaling.eval.runner.measure import measure
from rope_scaling.eval.runner.meter import shown
from rope_scaling.eval.runner.record import RunRecord, head_of
from rope_scaling.eval.runner.texts import read_text
from rope_scaling.eval.store.answers import Answers
from rope_scaling.eval.store.keys import checkpoint_key, tokenizer_key
from rope_scaling.eval.store.place import Place

STOPPED = 130
"""The exit code of what Ctrl-C has ended, as shells have it."""


def run_job(job: Job, out: Console, err: Console) -> None:
    """Measure, print the tables on `out` and the progress on `err`, keep every answer as it comes.

    Of several processes the first one prints, and writes the record; each keeps the answers that it computes.

    Raises:
        SystemExit: Ctrl-C; what was computed is kept.
    """
    place = Place.of(job.output) if job.output else None
    before = place.kept() if place else 0
    try:
        if job.backend == "vllm":
            require_lm_eval()
            from rope_scaling.eval.serving.job import run_served

            run_served(job, out, err)
        else:
            processes = join_processes()
            with processes.first_speaks():
                _run_part(job, processes, out, err)
    except KeyboardInterrupt:
        _stop(job, place, before, err)


def _run_part(job: Job, processes: Processes, out: Console, err: Console) -> None:
    """Do what one of the processes does."""
    place = Place.of(job.output) if job.output else None
    earlier = processes.from_first(place.begin(job.force) if place and processes.is_first else None)
    reading = None if job.text is None else read_text(job.text, job.lengths, job.texts)
    model, tokenizer = load(job.checkpoint, job.dtype, place_for(job.device, processes))
    head = processes.from_first(head_of(job, _checkpoint(job, model)))
    record = RunRecord(head, place if processes.is_first else None, earlier)
    folder = place.answers if place else None

    def start() -> None:
        if place and job.force and processes.is_first:
            place.clear()
        processes.gather(None)  # none of them writes before all is cleared

    with Answers(folder, processes, anew=job.force) as answers, shown(err, processes.count) as meter:
        keeping = Keeping(answers, record.head["checkpoint"]["fingerprint"], tokenizer_key(tokenizer), meter)
        tables = measure(job, model, tokenizer, reading, record, keeping, start)
    for table in tables:
        table(out)
    if place:
        out.print(f"wrote {place.record}", soft_wrap=True, highlight=False, markup=False)
        err.print(f"rope-scaling report {job.output} makes a page of it", soft_wrap=True, highlight=False, markup=False)


def load(checkpoint: str, dtype: str, device: str | None) -> tuple[Any, Any]:
    """Return model, ready to score, and tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"unknown --dtype {dtype!r} (auto, float32, bfloat16, float16)")
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_there(place)
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype, device_map=place)
    return model.eval(), tokenizer


def _checkpoint(job: Job, model: Any) -> dict[str, Any]:
    """Return what the record says of the model."""
    return {
        "model_type": model.config.model_type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "original_max_position_embeddings": trained_length(model, job.plan),
        "fingerprint": checkpoint_key(model),
    }


def _stop(job: Job, place: Place | None, before: int, err: Console) -> NoReturn:
    """End after Ctrl-C, with a line on how to go on.

    Args:
        job: that was stopped.
        place: where it keeps what it computes.
        before: bytes of answers that lay there when it began.
        err: told.
    """
    kept = place.kept() if place else 0
    if place is None:
        told = "nothing is kept without --output RUN"
    elif not kept:
        told = "nothing was computed yet, the same command begins again"
    elif job.force and kept == before:
        told = f"nothing was computed yet, and the run in {place.answers} is as it was"
    else:
        command = "the same command without --force" if job.force else "the same command"
        told = f"every finished answer lies in {place.answers}, and {command} goes on from there"
    err.print(f"stopped; {told}", soft_wrap=True, highlight=False, markup=False)
    raise SystemExit(STOPPED) from None
