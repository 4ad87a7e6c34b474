"""Texts that are scored keep the nats of every token, and runs are compared by blocks of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rope_scaling.eval.tasks.configs import rope_rows
from tests.eval.runner.calls import call, forbid_computing, record, run

pytestmark = pytest.mark.usefixtures("kept_prompts")

ASKED = ("--tasks", "rope_ppl", "--lengths", "40,400", "--samples", "2", "--scheme", "none")
BLOCK = 64


def answers(folder: Path, scheme: str = "none") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = record(folder)["tasks"]["rope_ppl"]["schemes"][scheme]["answers"]
    return found


def without_blocks(folder: Path) -> None:
    """What a run held before blocks were kept."""
    file = folder / "answers-0.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text(
        "".join(json.dumps({key: one for key, one in line.items() if key != "nll"}) + "\n" for line in lines)
    )
    value = record(folder)
    for entry in value["tasks"]["rope_ppl"]["schemes"].values():
        entry["answers"] = [{key: one for key, one in each.items() if key != "block_nll"} for each in entry["answers"]]
    (folder / "run.json").write_text(json.dumps(value))


def test_blocks_are_means_of_64_tokens_by_a_plain_forward_pass(checkpoint: Path, tmp_path: Path) -> None:
    assert call(checkpoint, tmp_path, *ASKED, "--chunk", "37").exit_code == 0
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
    told = {(one["length"], one["index"]): one for one in answers(tmp_path)}
    for row in rope_rows("rope_ppl", tokenizer, [40, 400], 2):
        answer = told[row["length"], row["index"]]
        ids = torch.tensor([tokenizer(row["input"] + row["answer"]).input_ids])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")[-row["scored_tokens"] :]
        assert answer["score"] == pytest.approx(nll.mean().item(), abs=1e-5)
        whole = len(nll) // BLOCK
        assert answer.get("block_nll", []) == pytest.approx(
            nll[: whole * BLOCK].view(-1, BLOCK).mean(1).tolist(), abs=1e-5
        )
        assert ("block_nll" in answer) == (row["length"] == 400)  # no block of 64 within the first 40


def test_a_run_of_before_goes_on_and_is_paired_by_texts(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    more = (*ASKED[:4], "--samples", "9", *ASKED[6:])
    for folder in (old, new):
        assert call(checkpoint, folder, *more).exit_code == 0
    told = json.loads(run("compare", old, new, "--json").stdout)["rows"]
    assert [(one["place"], one["pairs"], one["blocks"]) for one in told] == [("40", 9, None), ("400", 9, 9 * 5)]
    without_blocks(old)
    with monkeypatch.context() as patch:
        forbid_computing(patch)
        assert call(checkpoint, old, *more).exit_code == 0
    told = json.loads(run("compare", old, new, "--json").stdout)["rows"]
    assert [(one["place"], one["pairs"], one["blocks"]) for one in told] == [("40", 9, None), ("400", 9, None)]
    assert call(checkpoint, old, *more, "--scheme", "ntk:factor=32").exit_code == 0
    assert not any("block_nll" in one for one in answers(old))
    assert sum("block_nll" in one for one in answers(old, "ntk:factor=32")) == 9


def test_blocks_tell_apart_what_texts_cannot(checkpoint: Path, tmp_path: Path) -> None:
    assert call(checkpoint, tmp_path, *ASKED, "--scheme", "linear:factor=32").exit_code == 0
    schemes = ("--scheme-a", "none", "--scheme-b", "linear:factor=32")
    rows = json.loads(run("compare", tmp_path, tmp_path, *schemes, "--json").stdout)["rows"]
    short, long = rows
    assert (short["difference"], long["blocks"]) == (None, 10)  # two texts alone tell nothing
    ours, theirs = (
        [one["block_nll"] for one in answers(tmp_path, name) if "block_nll" in one] for name in schemes[1::2]
    )
    each = [b - a for first, second in zip(ours, theirs, strict=True) for a, b in zip(first, second, strict=True)]
    assert long["difference"]["mean"] == pytest.approx(math.fsum(each) / 10)
    assert long["b"] - long["a"] == pytest.approx(long["difference"]["mean"])
    assert "400 (10)" in run("compare", tmp_path, tmp_path, *schemes).stdout


def test_nats_that_were_edited_are_told_with_their_line(checkpoint: Path, tmp_path: Path) -> None:
    assert call(checkpoint, tmp_path, *ASKED).exit_code == 0
    file = tmp_path / "answers-0.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    number, line = next((number, one) for number, one in enumerate(lines, 1) if "nll" in one)
    line["nll"] = dict.fromkeys(line["nll"], "AAAA?")
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    done = call(checkpoint, tmp_path, *ASKED)
    assert done.exit_code == 1
    assert f"answers-0.jsonl, line {number}: 'nll' has" in " ".join(done.stderr.split())
