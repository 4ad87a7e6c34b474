"""All that one call of `rope-scaling eval` asks of a loaded model, and the tables that show it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rope_scaling.eval.bins import bins
from rope_scaling.eval.compare import Plan
from rope_scaling.eval.evaluator import DEPTHS, require_lm_eval
from rope_scaling.eval.memory import refuse_beyond_memory
from rope_scaling.eval.retrieval import print_passkey, run_passkey
from rope_scaling.eval.runner.keeping import Keeping
from rope_scaling.eval.runner.meter import Meter
from rope_scaling.eval.runner.record import RunRecord
from rope_scaling.eval.runner.texts import Reading, expected_reads, score_texts, tokenized
from rope_scaling.eval.tables import print_results

if TYPE_CHECKING:
    from rope_scaling.eval.runner.entries import Entry
    from rope_scaling.eval.runner.grid import Grid
    from rope_scaling.eval.runner.job import Job
    from rope_scaling.eval.runner.sources import Source

# lm-eval is imported where tasks are asked: a text is scored without it


def measure(
    job: Job,
    model: Any,
    tokenizer: Any,
    reading: Reading | None,
    record: RunRecord,
    keeping: Keeping,
    start: Callable[[], None] = lambda: None,
) -> list[Callable[[Console], None]]:
    """Ask everything; return what prints the tables.

    What can be refused is refused before anything is computed, or changed on the disk: `start` is called between.
    """
    meter, plan = keeping.meter, job.plan
    refuse_beyond_memory(model, [*job.lengths, *job.passkey, *(job.tasks.lengths if job.tasks else ())])
    texts = None if reading is None else tokenized(reading, model, tokenizer, plan, record)
    asked = [] if job.tasks is None else _asked(job.tasks, tokenizer, record, meter)
    if job.passkey:
        _check_passkeys(job, tokenizer, record)
    meter.expect(expected_reads(texts) if texts else 0)
    meter.expect(len(plan.schemes) * len(DEPTHS) * job.samples * sum(job.passkey))
    work = _expected(asked, meter)
    meter.expect(len(plan.schemes) * sum(work.values()))
    start()
    tables: list[Callable[[Console], None]] = []
    if texts:
        rows = score_texts(texts, model, keeping, record)
        tables.append(lambda out: print_results(out, rows, bins(job.lengths), texts.length, texts.stride))
    if job.passkey:
        run_passkey(model, tokenizer, plan, job.passkey, job.samples, meter.say, keeping, record.add_passkeys)
        tables.append(lambda out: print_passkey(out, record.value["passkey"]))
    if work:
        tables.append(_ask(model, tokenizer, plan, work, record, keeping))
    return tables


def _check_passkeys(job: Job, tokenizer: Any, record: RunRecord) -> None:
    """Raise what keeps passkeys from being asked: no lm-eval, a length that is too short, others in the run."""
    require_lm_eval()
    from rope_scaling.eval.tasks.passkey.task import passkey_dataset

    record.refuse_other_passkeys(job.passkey, job.samples * len(DEPTHS))
    passkey_dataset(tokenizer, job.passkey, DEPTHS[:1], 1, 0)


def _asked(grid: Grid, tokenizer: Any, record: RunRecord, meter: Meter) -> list[Source]:
    """Return the tasks that are asked, none of them otherwise than the run has asked it before."""
    require_lm_eval()
    from rope_scaling.eval.runner.sources import sources

    with warnings.catch_warnings(record=True) as told:  # which of RULER's are left out
        warnings.simplefilter("always")
        asked = sources(grid, tokenizer)
    for warning in told:
        meter.note(f"note: {warning.message}")
    for source in asked:
        record.refuse_other_task(source.name, source.meaning())
        if source.ranges:
            record.refuse_other_ranges(source.name, source.grid.lengths)
    return asked


def _expected(asked: Sequence[Source], meter: Meter) -> dict[Source, int]:
    """Return the tokens that each task makes a scheme read, at most."""
    if not asked:
        return {}
    from rope_scaling.eval.runner.tasks import expected_tokens

    return {source: expected_tokens(source, meter) for source in asked}


def _ask(
    model: Any, tokenizer: Any, plan: Plan, asked: Mapping[Source, int], record: RunRecord, keeping: Keeping
) -> Callable[[Console], None]:
    from rope_scaling.eval.runner.table import print_tasks
    from rope_scaling.eval.runner.tasks import run_tasks

    def done(source: Source, scheme: str, entry: Entry) -> None:
        record.add_entry(source.name, source.meaning(), scheme, entry)

    run_tasks(model, tokenizer, plan, asked, keeping, done)
    return lambda out: print_tasks(out, {source.name: record.value["tasks"][source.name] for source in asked})
