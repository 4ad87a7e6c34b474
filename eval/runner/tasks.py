"""All tasks of a grid under all schemes of a plan: one model, patched anew for each scheme."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rope_scaling.eval.compare import Plan
from rope_scaling.eval.evaluator import quiet
from rope_scaling.eval.lm import RopeHFLM
from rope_scaling.eval.runner.asking import ask, first_round
from rope_scaling.eval.runner.entries import Entry
from rope_scaling.eval.runner.keeping import Keeping
from rope_scaling.eval.runner.meter import Meter
from rope_scaling.eval.runner.questions import document_tokens
from rope_scaling.eval.runner.sources import Source
from rope_scaling.eval.runner.stored import StoredLM
from rope_scaling.eval.tasks.passkey.prompt import ANSWER_TOKENS
from rope_scaling.patches import patched
from rope_scaling.schemes import parse_scheme

Told = Callable[[Source, str, Entry], None]  # task, scheme, what the record says of them


def run_tasks(
    model: Any, tokenizer: Any, plan: Plan, asked: Mapping[Source, int], keeping: Keeping, done: Told
) -> None:
    """Ask every scheme every task, and tell `done` of each as it is finished.

    Args:
        model: not patched.
        tokenizer: the model's.
        plan: the schemes, and how they are read.
        asked: tasks, with the work that the meter expects of each.
        keeping: where answers are kept.
        done: told of the results.
    """
    for text in plan.schemes:
        with patched(model, parse_scheme(text), **plan.patch):
            lm = harness_model(model, tokenizer, plan, [length for source in asked for length in source.grid.lengths])
            for source, tokens in asked.items():
                label = f"{text}: {source.name}"
                keeping.meter.say(label)
                stored = StoredLM(lm, keeping.answers, keeping.identity(model), keeping.meter, label)
                entry = ask(stored, source)
                keeping.meter.settle(tokens, sum(stored.seen.values()))  # cells may have stopped early
                done(source, text, entry)


def harness_model(model: Any, tokenizer: Any, plan: Plan, lengths: Sequence[int]) -> RopeHFLM:
    """Return the patched model for lm-eval, with room for texts of all lengths: nothing is cut, whatever its config."""
    room = max(*lengths, model.config.get_text_config().max_position_embeddings) + ANSWER_TOKENS
    with quiet():
        return RopeHFLM(model, tokenizer=tokenizer, max_length=room, batch_size=plan.batch_size, chunk=plan.chunk)


def expected_tokens(source: Source, meter: Meter) -> int:
    """Make the documents of the first round, so that what cannot be asked is told before anything is; return the work.

    Where cells stop early it is the most that the work can be.
    """
    meter.say(f"making prompts: {source.name}")
    first = first_round(source)
    tokens = sum(document_tokens(row) for row in source.rows(first))
    return tokens * source.grid.samples // max(first.values())
