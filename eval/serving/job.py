"""One call of `rope-scaling eval --backend vllm`: what is refused before an engine starts, what is recorded after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from rope_scaling.eval.processes import join_processes
from rope_scaling.eval.runner.entries import Entry
from rope_scaling.eval.runner.meter import shown
from rope_scaling.eval.runner.record import RunRecord, head_of
from rope_scaling.eval.runner.sources import Source as Task
from rope_scaling.eval.runner.sources import sources
from rope_scaling.eval.runner.table import print_tasks
from rope_scaling.eval.runner.tasks import expected_tokens
from rope_scaling.eval.serving.model import require_vllm
from rope_scaling.eval.serving.run import (
    BACKEND,
    Serving,
    checkpoint_key,
    plan_servings,
    read_source,
    run_servings,
)
from rope_scaling.eval.store.answers import Answers
from rope_scaling.eval.store.keys import tokenizer_key
from rope_scaling.eval.store.place import Place
from rope_scaling.extend.documents import parse_document
from rope_scaling.extend.folder import Source

if TYPE_CHECKING:
    from rope_scaling.eval.runner.job import Job


def run_served(job: Job, out: Console, err: Console) -> None:
    """Ask all tasks of every scheme, print the tables on `out` and the progress on `err`, keep every answer.

    Raises:
        ValueError: Something is asked that vLLM cannot do; nothing was started.
        ModuleNotFoundError: vLLM is not installed.
    """
    from transformers import AutoTokenizer

    options = _checked(job)
    assert job.tasks is not None
    source = read_source(job.checkpoint)
    tokenizer: Any = AutoTokenizer.from_pretrained(source.folder)
    tasks = sources(job.tasks, tokenizer)
    key = tokenizer_key(tokenizer)
    longest = max(job.tasks.lengths)
    servings = plan_servings(source, job.checkpoint, job.plan, longest, job.dtype, options, key)
    require_vllm()
    place = Place.of(job.output) if job.output else None
    record = RunRecord(_head(job, source, servings), place, place.begin(job.force) if place else None)
    for task in tasks:
        record.refuse_other_task(task.name, task.meaning())

    def done(task: Task, scheme: str, entry: Entry) -> None:
        record.add_entry(task.name, task.meaning(), scheme, entry)

    with Answers(place.answers if place else None, anew=job.force) as answers, shown(err) as meter:
        work = {task: expected_tokens(task, meter) for task in tasks}
        meter.expect(len(servings) * sum(work.values()))
        if place and job.force:
            place.clear()
        run_servings(servings, work, answers, meter, done)
    print_tasks(out, {task.name: record.value["tasks"][task.name] for task in tasks})
    if place:
        out.print(f"wrote {place.record}", soft_wrap=True, highlight=False, markup=False)


def _checked(job: Job) -> dict[str, Any]:
    """Return the options of vLLM, unless the job asks for what only a model of Transformers can do."""
    from lm_eval.utils import simple_parse_args_string

    if job.text is not None:
        raise ValueError(
            "--backend vllm scores no --text: vLLM gives no scores by position that the window could be compared with; "
            "take the task rope_ppl, or leave --backend out"
        )
    if job.passkey:
        raise ValueError("--backend vllm asks no --passkey: take the task rope_passkey")
    if job.tasks is None:
        raise ValueError("--backend vllm needs --tasks")
    if job.device is not None:
        raise ValueError("--backend vllm takes its GPUs from CUDA_VISIBLE_DEVICES: leave --device out")
    if join_processes().count > 1:
        raise ValueError(
            "--backend vllm is one process, and vLLM starts others itself: --backend-args tensor_parallel_size=2"
        )
    options: dict[str, Any] = simple_parse_args_string(job.backend_args or "")
    return options


def _head(job: Job, source: Source, servings: list[Serving]) -> dict[str, Any]:
    checkpoint = {
        "model_type": parse_document("config.json", source.held["config.json"]).get("model_type"),
        "dtype": job.dtype,
        "device": BACKEND,
        "original_max_position_embeddings": servings[0].overrides.original,
        "fingerprint": checkpoint_key(source),
    }
    return head_of(job, checkpoint) | {"serving": {one.scheme: one.arguments for one in servings}}
