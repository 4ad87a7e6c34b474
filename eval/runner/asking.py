"""One task asked of one scheme through lm-eval's evaluator, until every length is known well enough."""

from __future__ import annotations

from typing import Any

from rope_scaling.eval.evaluator import evaluated
from rope_scaling.eval.runner.entries import Entry, entry, scores
from rope_scaling.eval.runner.sources import Source
from rope_scaling.eval.runner.stopping import FIRST, more, standard_error
from rope_scaling.eval.runner.stored import StoredLM
from rope_scaling.eval.verdict import block_means

Samples = list[dict[str, Any]]


def ask(lm: StoredLM, source: Source) -> Entry:
    """Return what the record says of the answers."""
    before = dict(lm.model.truncated)
    samples = _rounds(lm, source)
    kind = "generate_until" if isinstance(samples[0]["resps"][0][0], str) else "loglikelihood"
    lost = {name: count - before.get(name, 0) for name, count in lm.model.truncated.items()}
    found = entry(samples, kind, {name: count for name, count in lost.items() if count})
    for answer in found["answers"]:
        answer |= _blocks(lm, answer["key"])
    seconds = lm.answers.seconds(lm.key, (answer["key"] for answer in found["answers"]))
    return found | {"seconds": round(seconds, 2)}


def first_round(source: Source) -> dict[int, int]:
    """Return how many samples of each length are asked before the first look."""
    grid = source.grid
    number = grid.samples if grid.target is None else min(FIRST, grid.samples)
    return dict.fromkeys(grid.lengths, number)


def _blocks(lm: StoredLM, question: str) -> dict[str, list[float]]:
    """Return what the record says of a text's blocks of tokens; nothing of a short one, or of one not told by token."""
    nll = lm.answers.nll(lm.key, question)
    means = [] if nll is None else block_means(nll).tolist()
    return {"block_nll": [round(value, 6) for value in means]} if means else {}


def _rounds(lm: StoredLM, source: Source) -> Samples:
    """Ask for more and more samples of the lengths that are not decided; those asked before are in the store."""
    grid, asked = source.grid, first_round(source)
    while True:
        samples: Samples = evaluated(lm, source.config(source.rows(asked)))["samples"][source.name]
        undecided = [length for length, number in asked.items() if number < grid.samples]
        if grid.target is not None:
            errors = {length: standard_error(one, nats=source.scored) for length, one in scores(samples).items()}
            undecided = [length for length in undecided if errors[length] > grid.target]
        if not undecided:
            return samples
        wider = asked | {length: more(asked[length], grid.samples) for length in undecided}
        if source.scored:  # a text is read at all lengths
            wider = dict.fromkeys(wider, max(wider.values()))
        if wider == asked:
            return samples
        asked = wider
