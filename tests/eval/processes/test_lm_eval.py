"""lm-eval's own evaluator with `rope-hf` in two processes."""

from __future__ import annotations

import pytest

from tests.eval.processes.close import assert_close
from tests.eval.processes.conftest import Said


@pytest.mark.parametrize("name", ["scaled", "truncated"])
def test_two_processes_give_the_results_and_the_samples_of_one(name: str, together: Said, alone: Said) -> None:
    own, one = together.answers[name][0], alone.answers[name][0]
    assert list(one["results"]) == ["choose", "write", "roll", "one_document"]
    assert all(len(samples) > 30 for task, samples in one["samples"].items() if task != "one_document")
    assert_close(own["samples"], one["samples"])  # in the same order too: seeded statistics would differ
    assert_close(own["results"], one["results"])


def test_every_process_counts_the_truncated_requests_of_all(together: Said, alone: Said) -> None:
    (one,) = alone.answers["truncated"]
    assert sum(one["truncated"].values()) > 3
    assert [own["truncated"] for own in together.answers["truncated"]] == [one["truncated"]] * 2


def test_the_processes_divide_the_work_instead_of_doing_it_twice(together: Said, alone: Said) -> None:
    (one,), own = alone.answers["scaled"], together.answers["scaled"]
    assert own[0]["tokens"] == own[1]["tokens"], "one has not heard of the other"
    assert 0.8 * one["tokens"] < own[0]["tokens"] < 1.2 * one["tokens"]  # batches, and so their padding, are others


def test_only_the_first_process_has_results_to_print(together: Said) -> None:
    assert ["results" in own for own in together.answers["scaled"]] == [True, False]
