"""Remap schemes cannot be written: what is said instead, and which engines have an attention of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from rope_scaling import patch_model
from rope_scaling.doctor import examine, facts_of
from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.extend.folder import Source
from rope_scaling.extend.kindred import kindred
from rope_scaling.patches.offline import extend_checkpoint
from rope_scaling.rope import Rope
from rope_scaling.schemes import DCA, SelfExtend, make_scheme
from tests.models import tiny_model

ROPE = Rope.plain(1e4, 64, 8192)


def test_no_folder_can_say_it_and_llama_cpps_flags_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no words in a Transformers config.*--grp-attn-n 6 --grp-attn-w 126"):
        extend_checkpoint(Source.read(EMBEDDED["tiny-llama-512"]), tmp_path / "out", SelfExtend(factor=4, window=128))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scheme", "flags"),
    [
        (SelfExtend(factor=4, window=1024, group=8), "-c 32768 --grp-attn-n 8 --grp-attn-w 1024"),
        (SelfExtend(factor=2, window=1000, group=3), "-c 16384 --grp-attn-n 3 --grp-attn-w 999"),  # a whole number of 3
    ],
)
def test_group_attention_has_the_group_and_a_window_of_whole_groups(scheme: SelfExtend, flags: str) -> None:
    assert flags in kindred(scheme, ROPE, "llama")["llama.cpp"]


def test_dual_chunk_attention_has_the_chunk_as_what_is_left_of_the_window() -> None:
    told = kindred(DCA(factor=4, chunk=6144), ROPE, "qwen2")
    for engine in ("vllm", "sglang"):
        assert '"chunk_size": 8192, "local_size": 2048, "original_max_position_embeddings": 8192' in told[engine]
        assert '"max_position_embeddings": 32768' in told[engine]
    assert '"local_size": 2048}' in kindred(DCA(factor=4, chunk=6144, log_scale=False), ROPE, "qwen2")["vllm"]


@pytest.mark.parametrize("name", ["rerope", "leaky-rerope", "string", "lampe"])
def test_no_engine_has_the_others(name: str) -> None:
    assert not kindred(make_scheme(name, {"factor": 1.5}), ROPE, "qwen2")  # type: ignore[arg-type]
    assert not kindred(DCA(factor=4), ROPE, "llama")


@pytest.mark.filterwarnings("ignore:remapped positions are saved")
def test_the_doctor_tells_of_a_saved_record(tmp_path: Path) -> None:
    patch_model(tiny_model(), SelfExtend(factor=4, window=16)).save_pretrained(tmp_path)
    (found,) = [one for one in examine(facts_of(str(tmp_path))) if one.code == "record-only"]
    assert "--grp-attn-n 6 --grp-attn-w 12" in found.symptom.engines["llama.cpp"]
    assert found.symptom.engines["vllm"] == "ignores the record"
