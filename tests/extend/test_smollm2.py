"""A real checkpoint, extended: plain Transformers gives the patched model's logits past the trained length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rope_scaling import parse_scheme, patched
from rope_scaling.eval.fetch import fetch
from rope_scaling.extend.folder import Source, undo_folder
from rope_scaling.patches.offline import extend_checkpoint
from tests.extend.plain import plain_logits

pytestmark = pytest.mark.slow
SCHEMES = ["yarn:factor=4", "ntk-by-parts:factor=2"]


def test_smollm2_is_extended_linked_read_by_plain_transformers_and_restored(tmp_path: Path) -> None:
    source = fetch("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(source)
    ids = tokenizer("Of Mans First Disobedience, and the Fruit", return_tensors="pt").input_ids
    far = torch.arange(12_000, 12_000 + ids.shape[1])[None]  # past the trained length
    outs = []
    for number, scheme in enumerate(SCHEMES):
        outs.append(tmp_path / str(number))
        _, written = extend_checkpoint(Source.read(source), outs[-1], parse_scheme(scheme), ("all",))
        assert "copied" in written.placed
    read = plain_logits(outs, ids, far, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    for scheme, (found, length) in zip(SCHEMES, read, strict=True):
        with torch.no_grad(), patched(model, parse_scheme(scheme)):
            meant = model(ids, position_ids=far, use_cache=False).logits
        torch.testing.assert_close(found, meant, rtol=0, atol=4e-6)
        assert length == parse_scheme(scheme).factor * 8192
    undo_folder(outs[0], tmp_path / "back", force=False, copy=False, tick=lambda copied: None)
    assert (tmp_path / "back" / "config.json").read_bytes() == (source / "config.json").read_bytes()
