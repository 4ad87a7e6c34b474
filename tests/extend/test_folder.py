"""What `extend` writes: the patched model for plain Transformers, every limit raised, every change undone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rope_scaling import parse_scheme, patch_model, unpatch_model
from rope_scaling.extend.folder import Source, undo_folder
from rope_scaling.patches.offline import extend_checkpoint
from tests.extend.folders import (
    CARD,
    contents,
    digest,
    edit_json,
    in_the_older_spelling,
    read_json,
    save_checkpoint,
    write_json,
)
from tests.extend.plain import plain_logits
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_config, tiny_gemma3, tokens
from tests.patches.twins import linear_config, yarn_config

SCHEMES = ["yarn:factor=4", "ntk:factor=3", "ntk-by-parts:factor=2", "linear:factor=2", "llama3:factor=4"]
FAR = torch.arange(TRAINED, 3 * TRAINED)[None]


def extended(source: Path, out: Path, scheme: str = "yarn:factor=4", **options: Any) -> Path:
    extend_checkpoint(Source.read(source), out, parse_scheme(scheme), **options)
    return out


def undone(folder: Path, out: Path) -> Path:
    undo_folder(folder, out, force=False, copy=False, tick=lambda copied: None)
    return out


@torch.no_grad()
def patched_logits(folder: Path, scheme: str, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    model = patch_model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), parse_scheme(scheme))
    out: torch.Tensor = model(ids, position_ids=positions, use_cache=False).logits
    return out


def test_plain_transformers_gives_the_logits_of_the_patched_model(tmp_path: Path) -> None:
    ids, pairs = tokens(FAR.shape[1]), []
    for number, model_type in enumerate(ARCHITECTURES):
        scheme = SCHEMES[number % len(SCHEMES)]
        source = save_checkpoint(tmp_path / model_type, model_type)
        pairs.append((extended(source, tmp_path / f"{model_type}-long", scheme), source, scheme))
    read = plain_logits([out for out, _, _ in pairs], ids, FAR, tmp_path)
    for (_, source, scheme), (found, length) in zip(pairs, read, strict=True):
        torch.testing.assert_close(found, patched_logits(source, scheme, ids, FAR), rtol=0, atol=4e-6)
        assert length == parse_scheme(scheme).factor * TRAINED


@torch.no_grad()
def test_a_scaled_checkpoint_differs_from_the_plain_one(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")
    far, plain = (
        AutoModelForCausalLM.from_pretrained(folder)(tokens(FAR.shape[1]), position_ids=FAR).logits
        for folder in (extended(source, tmp_path / "out"), source)
    )
    assert (far - plain).abs().max() > 0.01  # so that the comparison above could fail


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_spellings_say_the_same(scheme: str, tmp_path: Path) -> None:
    out = extended(save_checkpoint(tmp_path / "source"), tmp_path / "out", scheme)
    config = read_json(out / "config.json")
    newer = config["rope_parameters"]
    assert config["rope_theta"] == newer["rope_theta"]
    older = config.get("rope_scaling") or {"rope_type": "default"}
    assert older | {"rope_theta": config["rope_theta"]} == newer
    only_older = in_one_spelling(config, "rope_parameters")
    only_newer = in_one_spelling(config, "rope_scaling", "rope_theta")
    for name, said in {"older": only_older, "newer": only_newer}.items():
        write_json(tmp_path / name / "config.json", said) if (tmp_path / name).mkdir() is None else None
    read = [AutoConfig.from_pretrained(tmp_path / name).rope_parameters for name in ("older", "newer")]
    assert read[0] == read[1] == AutoConfig.from_pretrained(out).rope_parameters


def in_one_spelling(config: dict[str, Any], *without: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in (*without, "rope_scaling_patch")}


def test_a_config_in_the_older_spelling_is_extended_alike(tmp_path: Path) -> None:
    newer = extended(save_checkpoint(tmp_path / "newer"), tmp_path / "newer-long")
    older = extended(in_the_older_spelling(save_checkpoint(tmp_path / "older")), tmp_path / "older-long")
    read = [AutoConfig.from_pretrained(folder).to_dict() | {"_name_or_path": ""} for folder in (newer, older)]
    assert read[0] == read[1]


def test_every_limit_is_raised(tmp_path: Path) -> None:
    out = extended(save_checkpoint(tmp_path / "source"), tmp_path / "out")
    assert read_json(out / "config.json")["max_position_embeddings"] == 4 * TRAINED
    assert read_json(out / "generation_config.json")["max_length"] == 4 * TRAINED
    assert read_json(out / "tokenizer_config.json")["model_max_length"] == 4 * TRAINED


def test_limits_that_somebody_chose_stay_and_are_told(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")
    edit_json(source / "generation_config.json", max_length=20)
    edit_json(source / "tokenizer_config.json", model_max_length=TRAINED // 2)
    edit_json(source / "tokenizer.json", truncation={"max_length": 50, "stride": 0})
    _, written = extend_checkpoint(Source.read(source), tmp_path / "out", parse_scheme("yarn:factor=4"))
    assert read_json(tmp_path / "out" / "generation_config.json")["max_length"] == 20
    assert read_json(tmp_path / "out" / "tokenizer_config.json")["model_max_length"] == TRAINED // 2
    assert any("model_max_length stays 32" in told for told in written.warnings)
    assert any("cuts every text to 50 tokens" in told for told in written.warnings)


def test_a_limitless_tokenizer_is_left_alone(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")
    edit_json(source / "tokenizer_config.json", model_max_length=1000000000000000019884624838656)
    out = extended(source, tmp_path / "out")
    assert (out / "tokenizer_config.json").read_bytes() == (source / "tokenizer_config.json").read_bytes()


def test_the_source_is_not_touched(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")
    before = digest(source)
    extended(source, tmp_path / "out")
    assert digest(source) == before


def test_undoing_gives_every_byte_back(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")
    out = extended(source, tmp_path / "out", engines=("all",))
    assert contents(undone(out, tmp_path / "back")) == contents(source)


@pytest.mark.parametrize("card", [None, b"caf\xe9 \r\nno UTF-8", CARD.encode()])
def test_the_model_card_gains_a_section_and_loses_it_again(card: bytes | None, tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")
    (source / "README.md").unlink()
    if card is not None:
        (source / "README.md").write_bytes(card)
    out = extended(source, tmp_path / "out")
    written = (out / "README.md").read_bytes()
    assert b"64 to 256 tokens (yarn, factor 4.0)" in written
    assert written.startswith((card or b"").rstrip())
    assert contents(undone(out, tmp_path / "back")) == contents(source)


def test_extending_again_starts_from_the_trained_model(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")
    once = extended(source, tmp_path / "once", "ntk:factor=3")
    again = extended(once, tmp_path / "again", "yarn:factor=4")
    meant = contents(extended(source, tmp_path / "meant", "yarn:factor=4"))
    assert read_json(again / "config.json") == read_json(tmp_path / "meant" / "config.json")
    assert contents(again).keys() == meant.keys()
    assert contents(undone(again, tmp_path / "back")) == contents(source)


def test_settings_edited_since_are_not_overwritten_by_undoing(tmp_path: Path) -> None:
    out = extended(save_checkpoint(tmp_path / "source"), tmp_path / "out")
    edit_json(out / "config.json", use_cache=False)
    with pytest.raises(ValueError, match=r"config\.json was edited since it was written"):
        undone(out, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_what_was_never_extended_cannot_be_undone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no rope_scaling\.json"):
        undone(save_checkpoint(tmp_path / "source"), tmp_path / "back")


def test_a_record_that_names_another_file_is_refused(tmp_path: Path) -> None:
    out = extended(save_checkpoint(tmp_path / "source"), tmp_path / "out")
    sheet = read_json(out / "rope_scaling.json")
    sheet["changes"][0]["file"] = "../outside.json"
    write_json(out / "rope_scaling.json", sheet)
    with pytest.raises(ValueError, match="which extend never changes"):
        undone(out, tmp_path / "back")


def test_an_extended_checkpoint_is_known_to_unpatch_model(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")
    out = extended(source, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    assert model.generation_config.max_length == 4 * TRAINED
    unpatch_model(model)
    assert model.generation_config.max_length == TRAINED
    assert torch.equal(logits(model), logits(AutoModelForCausalLM.from_pretrained(source).eval()))


def test_a_scaled_checkpoint_needs_a_word(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source", linear_config(2.0))
    with pytest.raises(ValueError, match="scaled already"):
        extended(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for number, on_scaled in enumerate(("compose", "replace")):
        out = extended(source, tmp_path / str(number), "ntk:factor=2", on_scaled=on_scaled)
        model = AutoModelForCausalLM.from_pretrained(out).eval()
        live = AutoModelForCausalLM.from_pretrained(source).eval()
        patch_model(live, parse_scheme("ntk:factor=2"), on_scaled=on_scaled)
        torch.testing.assert_close(logits(model), logits(live), rtol=0, atol=4e-6)


def test_a_rope_for_each_layer_type_is_kept_apart(tmp_path: Path) -> None:
    model = tiny_gemma3(["full_attention", "sliding_attention"])
    model.save_pretrained(tmp_path / "source")
    out = extended(tmp_path / "source", tmp_path / "out", "ntk:factor=4")
    live = patch_model(AutoModelForCausalLM.from_pretrained(tmp_path / "source").eval(), "ntk", factor=4)
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(out).eval()), logits(live), rtol=0, atol=4e-6
    )


def test_a_native_yarn_checkpoint_that_is_replaced_by_none_is_plain_again(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source", yarn_config())
    out = extended(source, tmp_path / "out", "none", on_scaled="replace")
    plain = AutoModelForCausalLM.from_pretrained(save_checkpoint(tmp_path / "plain")).eval()
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(out).eval()), logits(plain))


def test_a_scheme_that_no_config_can_say_is_refused(tmp_path: Path) -> None:
    source = save_checkpoint(
        tmp_path / "source", tiny_config("gptj", head_dim=None, rotary_dim=16, n_positions=TRAINED)
    )
    with pytest.raises(ValueError, match="no words in a Transformers config"):
        extended(source, tmp_path / "out", "ntk:factor=2")
    assert os.listdir(tmp_path) == ["source"]


def test_a_model_without_rope_is_refused(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source", tiny_config("opt", head_dim=None, word_embed_proj_dim=64))
    with pytest.raises(TypeError, match="no rotary position embedding"):
        extended(source, tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]
