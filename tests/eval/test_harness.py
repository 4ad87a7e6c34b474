from __future__ import annotations

import importlib.util
import json
import logging
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rope_scaling.eval.evaluator import evaluate_passkey
from rope_scaling.eval.harness import TASKS, _include_paths, main, truncation_note
from rope_scaling.eval.harness_options import move_options
from rope_scaling.eval.lm import RopeHFLM, TruncationError, TruncationWarning
from tests.eval.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(autouse=True)
def _lm_evals_log_ends_with_the_test() -> Iterator[None]:
    """Its handler holds on to the stderr of the first test that runs the command line."""
    yield
    logging.getLogger("lm_eval").handlers.clear()


def test_the_command_line_runs_our_task_on_our_model(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(sys.argv)
    model = ["--model", "rope-hf", "--model_args", f"pretrained={checkpoint},scheme=yarn,factor=16"]
    cells = json.dumps({"lengths": [400, 600], "depths": [0, 1], "samples": 1})
    output = ["--output_path", str(tmp_path), "--log_samples", "--allow-truncation", "--cache-gb", "1"]
    with pytest.warns(TruncationWarning):
        main([*model, "--tasks", "rope_passkey", "--metadata", cells, *output])
    assert sys.argv == before
    printed = capsys.readouterr().out
    assert "|rope_passkey|" in printed
    assert "rope-hf: TRUNCATED: 2 generate_until requests" in printed  # 600 tokens are more than 16 · 32
    (written,) = tmp_path.rglob("results_*.json")
    results = json.loads(written.read_text())
    assert results["config"]["rope"]["max_length"] == results["max_length"] == 512
    assert results["config"]["truncated_requests"] == {"generate_until": 2}
    assert results["config"]["engine"]["cache_gb"] == 1
    assert results["n-samples"]["rope_passkey"] == {"original": 4, "effective": 4}
    assert {"acc,none", "400,none", "400_stderr,none", "600,none"} < set(results["results"]["rope_passkey"])
    (logged,) = tmp_path.rglob("samples_*.jsonl")
    samples = [json.loads(line)["doc"] for line in logged.read_text().splitlines()]
    assert [(one["length"], one["depth"]) for one in samples] == [(400, 0), (600, 0), (400, 1), (600, 1)]
    assert [one["prompt_tokens"] for one in samples] == [384, 584, 384, 584]


def test_a_run_that_would_truncate_fails(checkpoint: str) -> None:
    with pytest.raises(TruncationError, match="1 of 1 generate_until requests are longer than the model's 512"):
        evaluate_passkey({"pretrained": checkpoint, "scheme": "yarn", "factor": 16}, [600], [0.5], samples=1)


def test_our_flags_join_the_arguments_of_a_config_file(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("model: rope-hf\nmodel_args: pretrained=x,factor=2\n")
    ours = {"allow_truncation": True, "cache_gb": 0.5}
    args = Namespace(config=str(config), model=None, model_args=None, **ours)
    move_options(args)
    assert args.model_args == {"pretrained": "x", "factor": 2, **ours}
    assert not {*ours} & {*vars(args)}


def test_our_flags_are_refused_for_another_model() -> None:
    args = Namespace(model="hf", model_args={}, allow_truncation=True, cache_gb=1.0)
    with pytest.raises(ValueError, match=r"--allow-truncation and --cache-gb are for --model rope-hf, .* is 'hf'"):
        move_options(args)


def test_help_speaks_of_the_command_that_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["run", "--help"], ["ls", "--help"]):
        with pytest.raises(SystemExit):
            main(argv)
        assert capsys.readouterr().out.startswith("usage: rope-scaling lm-eval")


def test_the_users_own_tasks_are_kept(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("include_path: /own\n")
    assert _include_paths(Namespace(include_path=None)) == [str(TASKS)]
    assert _include_paths(Namespace(include_path="/own", config=str(config))) == [str(TASKS), "/own"]
    assert _include_paths(Namespace(include_path=None, config=str(config))) == [str(TASKS), "/own"]
    assert _include_paths(Namespace(include_path=str(TASKS))) == [str(TASKS)]


def test_a_prompt_cache_is_refused_for_generated_tasks(checkpoint: str) -> None:
    model = ["--model", "rope-hf", "--model_args", f"pretrained={checkpoint}"]
    with pytest.raises(ValueError, match="--cache_requests keeps prompts by the name of their task alone"):
        main(["run", *model, "--tasks", "rope_passkey", "--cache_requests", "true"])


def test_a_missing_lm_eval_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rope-scaling\[eval\]'"):
        main(["ls", "tasks"])


def test_evaluate_passkey_tells_lengths_cells_and_truncation(checkpoint: str) -> None:
    lm = RopeHFLM(checkpoint, "ntk", factor=14, allow_truncation=True)  # 448 tokens
    before = torch.get_rng_state()
    with pytest.warns(TruncationWarning):
        told = evaluate_passkey(lm, [400, 450], depths=[0, 1], samples=2)
    assert torch.equal(torch.get_rng_state(), before)
    json.dumps(told)
    assert [(row["length"], row["samples"]) for row in told["accuracy"]] == [(400, 4), (450, 4)]
    assert all(0 <= row["accuracy"] <= 1 and row["stderr"] is not None for row in told["accuracy"])
    assert [(c["length"], c["depth"], c["samples"]) for c in told["cells"]] == [
        (400, 0.0, 2),
        (400, 1.0, 2),
        (450, 0.0, 2),
        (450, 1.0, 2),
    ]
    assert told["truncated_requests"] == {"generate_until": 4}
    assert told["rope"]["max_length"] == 448


def test_evaluate_passkey_makes_the_model_it_is_told_of(checkpoint: str) -> None:
    told = evaluate_passkey({"pretrained": checkpoint, "scheme": "yarn", "factor": 16}, [400], [0.5], samples=1)
    (cell,) = told["accuracy"]
    assert cell.pop("interval") == pytest.approx((0.0, 1.96**2 / (1 + 1.96**2)))  # Wilson's, none of one
    assert cell == {"length": 400, "accuracy": 0.0, "samples": 1, "stderr": None}
    assert told["rope"]["scheme"] == "yarn"


def test_the_note_after_a_run_says_both_outcomes() -> None:
    assert truncation_note({}) == "rope-hf: no request was truncated"
    assert "3 generate_until and 1 loglikelihood" in truncation_note({"loglikelihood": 1, "generate_until": 3})
