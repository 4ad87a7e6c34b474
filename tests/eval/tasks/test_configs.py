"""Tasks through lm-eval's evaluator and command line, on the embedded checkpoint."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from rope_scaling.eval.harness import main
from rope_scaling.eval.lm import RopeHFLM
from rope_scaling.eval.tasks.configs import FOLDER, rope_tasks
from rope_scaling.eval.tasks.ruler.task import ruler_tasks
from tests.eval.tasks.tokenizers import TINY, tokenizer


@pytest.fixture(scope="module")
def lm() -> RopeHFLM:
    return RopeHFLM(TINY, batch_size=4)


@pytest.fixture(autouse=True)
def _lm_evals_log_ends_with_the_test() -> Iterator[None]:
    """Its handler holds on to the stderr of the first test that runs the command line."""
    yield
    logging.getLogger("lm_eval").handlers.clear()


def evaluated(lm: RopeHFLM, tasks: list[dict[str, Any]], **options: Any) -> Any:
    seeds = dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"))
    evaluate: Any = lm_eval.simple_evaluate
    return evaluate(lm, tasks=tasks, task_manager=TaskManager(include_defaults=False), **seeds, **options)


def test_the_checkpoint_finds_within_its_length_what_it_was_trained_to_find(lm: RopeHFLM) -> None:
    names = ["rope_passkey_mc", "rope_niah_single_mc", "rope_niah_single_text_mc"]
    results = evaluated(lm, rope_tasks(lm.tokenizer, names, lengths=[256], depths=[0.1, 0.6], samples=2))
    assert [results["results"][name]["256,none"] for name in names] == [1.0] * 3
    assert sum(lm.truncated.values()) == 0


def test_a_key_is_generated_where_it_was_told(lm: RopeHFLM) -> None:
    results = evaluated(lm, rope_tasks(lm.tokenizer, ["rope_passkey"], lengths=[256], depths=[0.5], samples=2))
    assert results["results"]["rope_passkey"]["acc,none"] == 1.0


def test_a_text_gets_easier_by_position(lm: RopeHFLM) -> None:
    results = evaluated(lm, rope_tasks(lm.tokenizer, ["rope_ppl"], lengths=[128, 256], samples=3))
    told = results["results"]["rope_ppl"]
    assert 3 < told["128-256,none"] < told["0-128,none"] < 6  # nats; 7.6 is a guess among 2048
    assert told["0-128_stderr,none"] > 0


def test_ruler_runs_at_the_lengths_asked_for_and_a_limit_takes_as_many_of_each(
    lm: RopeHFLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    results = evaluated(lm, ruler_tasks(lm.tokenizer, ["ruler_fwe"], [500, 512], samples=2), limit=2)
    assert [one["doc"]["max_length"] for one in results["samples"]["ruler_fwe"]] == [500, 512]
    assert {"acc,none", "500,none", "512,none"} < set(results["results"]["ruler_fwe"])
    assert sum(lm.truncated.values()) == 0


def test_the_command_line_takes_tasks_and_groups_by_name(tmp_path: Path) -> None:
    cells = json.dumps({"lengths": [400, 420], "depths": [0.5], "samples": 1})
    model = ["--model", "rope-hf", "--model_args", f"pretrained={TINY}", "--batch_size", "4"]
    main([*model, "--tasks", "rope_quick", "--metadata", cells, "--output_path", str(tmp_path), "--limit", "1"])
    (written,) = tmp_path.rglob("results_*.json")
    results = json.loads(written.read_text())["results"]
    members = load_yaml(FOLDER / "rope_quick.yaml", resolve_func=False)["task"]
    assert set(results) == {"rope_quick", *members}
    assert 0 <= results["rope_quick"]["acc,none"] <= 1
    assert {"acc,none", "400,none"} < set(results["rope_vt_mc"])


@pytest.mark.parametrize("group", ["rope_quick", "rope_full"])
def test_groups_name_tasks_that_exist(group: str) -> None:
    names = [config["task"] for config in rope_tasks(tokenizer(), [group, "rope_ppl"])]
    assert len(names) == len(set(names)) >= 5
    assert names == load_yaml(FOLDER / f"{group}.yaml", resolve_func=False)["task"]


def test_an_unknown_task_is_told() -> None:
    with pytest.raises(ValueError, match="unknown task 'rope_nihah_single': did you mean 'rope_niah_single"):
        rope_tasks(tokenizer(), ["rope_nihah_single"])
