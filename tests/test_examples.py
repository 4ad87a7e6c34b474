"""The examples, run as their docstrings say, for a step or two on the embedded checkpoint."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.recall import IGNORE
from rope_scaling.eval.windows import Windows

EXAMPLES = Path(__file__).parent.parent / "examples"
TINY = str(EMBEDDED["tiny-llama-512"])
WAYS = {
    "full": [],
    "pose": ["--pose"],
    "packed": ["--pack", "200"],
    "lora": ["--lora", "4"],
    "checkpointing": ["--gradient-checkpointing"],
}
ONE_AFTER_ANOTHER = """
import json, runpy, sys
for sys.argv in json.loads(sys.argv[1]):
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def finetune() -> Any:
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module("finetune")
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def windows() -> Windows:
    text = EMBEDDED["macbeth"].read_text(encoding="utf-8")
    return Windows(AutoTokenizer.from_pretrained(TINY), text, 128, 40, 0.0, seed=0)


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint of each way, made by one process: importing takes longer than training."""
    folder = tmp_path_factory.mktemp("finetuned")
    asked = ("--factor", "2", "--text", "macbeth", "--steps", "2", "--batch", "2", "--lr", "1e-2")
    script = str(EXAMPLES / "finetune.py")
    commands = [[script, TINY, str(folder / name), *asked, *how] for name, how in WAYS.items()]
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_ANOTHER, json.dumps(commands)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", WAYS)
def test_a_fine_tuned_checkpoint_loads_without_this_package_at_its_new_length(name: str, finetuned: Path) -> None:
    out = finetuned / name
    before, after = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (TINY, out))
    assert after.config.max_position_embeddings == 1024
    assert after.config.rope_parameters["rope_type"] == "yarn"
    assert AutoTokenizer.from_pretrained(out).model_max_length == 1024
    assert set(after.state_dict()) == set(before.state_dict())
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(after.state_dict()[name], before.state_dict()[name])


def test_an_extended_example_checkpoint_is_the_live_model(tmp_path: Path) -> None:
    told = run("extend_and_save.py", TINY, str(tmp_path / "out"), "--scheme", "ntk", "--factor", "4")
    assert "with the same logits: True" in told


def test_pose_positions_jump_once_and_reach_the_new_length(finetune: Any, windows: Windows) -> None:
    rows = [finetune.PoSE(windows, reach=512, seed=1)[i] for i in range(40)]
    for row in rows:
        steps = row["position_ids"].diff()
        assert row["position_ids"][0] == 0
        assert (steps != 1).sum() <= 1
        assert 127 <= row["position_ids"][-1] < 512
    assert max(int(row["position_ids"][-1]) for row in rows) > 450


def test_pose_hides_no_part_of_the_window(finetune: Any, windows: Windows) -> None:
    """Without the mask of ones Transformers would: a jump in position_ids looks to it like the next packed text."""
    model = AutoModelForCausalLM.from_pretrained(TINY).eval()
    row = {key: value[None] for key, value in finetune.PoSE(windows, reach=512, seed=1)[0].items()}
    jump = int((row["position_ids"][0].diff() != 1).nonzero()[0]) + 1
    other = row["input_ids"].clone()
    other[0, 1:jump] = other[0, 1:jump].flip(0)
    with torch.no_grad():
        a, b = (
            model(**row | {"input_ids": ids}, use_cache=False).logits  # as in training
            for ids in (row["input_ids"], other)
        )
        positions = row["position_ids"]
        hidden = [
            model(input_ids=ids, position_ids=positions, use_cache=False).logits for ids in (row["input_ids"], other)
        ]
    assert not torch.allclose(a[:, jump:], b[:, jump:], atol=1e-3)
    assert torch.allclose(hidden[0][:, jump:], hidden[1][:, jump:], atol=1e-5)  # what the mask of ones is there against


def test_packed_texts_do_not_see_each_other(finetune: Any, windows: Windows) -> None:
    model = AutoModelForCausalLM.from_pretrained(TINY).eval()
    row = finetune.Packed(windows, 512)[2]
    parts = [windows[index] for index in range(8, 12)]
    assert len(row["input_ids"]) == 512
    assert row["labels"][::128].tolist() == [IGNORE] * 4
    with torch.no_grad():
        ids, positions = row["input_ids"][None], row["position_ids"][None]
        packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]  # as in training
        alone = torch.cat([model(input_ids=part["input_ids"][None]).logits[0] for part in parts])
    torch.testing.assert_close(packed, alone, atol=1e-4, rtol=0)
