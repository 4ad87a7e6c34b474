"""Encoders of text and of sound with a RoPE: patched natively where they are Transformers' usual kind, else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from rope_scaling import describe, patch_model, unpatch_model
from rope_scaling.patches.discover import find_rotary
from tests.models import TRAINED, tokens
from tests.patches.test_refusals_foreign import assert_untouched, whole_state

FACTOR = 2.0
TOLERANCE = 4e-6
_SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": TRAINED,
    "initializer_range": 0.1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LAYERS = {"encoder_num_hidden_layers": 1, "decoder_num_hidden_layers": 1}
_HEADS = {"encoder_num_attention_heads": 2, "decoder_num_attention_heads": 2}
OF_TEXT: dict[str, dict[str, Any]] = {"eurobert": {"num_key_value_heads": 1}}
SCALED = {"linear": {"factor": FACTOR}, "yarn": {"factor": FACTOR, "original_max_position_embeddings": TRAINED}}


def tiny_config(model_type: str, **changes: Any) -> PreTrainedConfig:
    sizes = _SIZES | OF_TEXT.get(model_type, {}) | changes
    if model_type == "moonshine":
        sizes = {key: value for key, value in sizes.items() if "num_" not in key} | _LAYERS | _HEADS
    config: PreTrainedConfig = AutoConfig.for_model(model_type, **sizes)
    return config


def tiny_model(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(config)
    return model.eval()


@torch.no_grad()
def hidden(model: PreTrainedModel) -> torch.Tensor:
    """(1, tokens, hidden_size) of the last layer, for text or for sound that is longer than L."""
    if model.config.model_type == "moonshine":
        sound = torch.randn(1, 384 * 2 * TRAINED, generator=torch.Generator().manual_seed(4))
        heard: torch.Tensor = model(input_values=sound, decoder_input_ids=tokens()).last_hidden_state
        return heard
    out: torch.Tensor = model(tokens()).last_hidden_state
    return out


def native(config: PreTrainedConfig, scheme: str) -> dict[str, Any]:
    own = config.rope_parameters
    return {key: own[key] for key in own if key != "rope_type"} | {"rope_type": scheme, **SCALED[scheme]}


@pytest.mark.parametrize("scheme", SCALED)
@pytest.mark.parametrize("model_type", [*OF_TEXT, "moonshine"])
def test_an_encoder_is_its_native_twin(model_type: str, scheme: str, tmp_path: Path) -> None:
    model = tiny_model(tiny_config(model_type))
    before = hidden(model)
    patch_model(model, scheme, factor=FACTOR)
    after = hidden(model)
    parameters = native(tiny_config(model_type), scheme)
    twin = tiny_config(model_type, rope_parameters=parameters, max_position_embeddings=int(TRAINED * FACTOR))
    assert (after - hidden(tiny_model(twin))).abs().max() <= TOLERANCE
    assert (after - before).abs().max() > 1e-3
    model.save_pretrained(tmp_path)
    assert torch.equal(hidden(AutoModel.from_pretrained(tmp_path)), after)
    assert torch.equal(hidden(unpatch_model(model)), before)


def test_modernbert_is_scaled_where_it_sees_everything_and_left_alone_where_it_sees_a_window(tmp_path: Path) -> None:
    layers = {"layer_types": ["full_attention", "sliding_attention"], "local_attention": 16}
    model = tiny_model(tiny_config("modernbert", **layers))
    before = hidden(model)
    patch_model(model, "yarn", factor=FACTOR)
    after = hidden(model)
    assert describe(model).layer_types == ["full_attention"]
    plain = {"rope_type": "default", "rope_theta": 1e4}
    yarn = {"rope_type": "yarn", "rope_theta": 16e4, "factor": FACTOR, "original_max_position_embeddings": TRAINED}
    twin = tiny_config(
        "modernbert",
        **layers,
        rope_parameters={"full_attention": yarn, "sliding_attention": plain},
        max_position_embeddings=int(TRAINED * FACTOR),
    )
    assert (after - hidden(tiny_model(twin))).abs().max() <= TOLERANCE
    assert (after - before).abs().max() > 1e-3
    model.save_pretrained(tmp_path)
    assert torch.equal(hidden(AutoModel.from_pretrained(tmp_path)), after)
    assert torch.equal(hidden(unpatch_model(model)), before)


def glmasr() -> PreTrainedModel:
    sound = {key: _SIZES[key] for key in _SIZES if "token" not in key and key != "vocab_size"} | {"num_mel_bins": 8}
    text = _SIZES | {"num_key_value_heads": 1, "head_dim": 32, "model_type": "llama"}
    return tiny_model(AutoConfig.for_model("glmasr", audio_config=sound, text_config=text, audio_token_id=90))


def table(model: PreTrainedModel, part: str) -> torch.Tensor:
    found = next(b for name, b in model.named_buffers() if part in name and name.endswith("rotary_emb.inv_freq"))
    return found.clone()


def test_a_model_that_hears_has_its_language_model_patched_or_its_encoder_when_that_is_asked_for() -> None:
    model = glmasr()
    text, sound = table(model, "language_model"), table(model, "audio_tower")
    patch_model(model, "linear", factor=FACTOR)
    assert torch.equal(table(model, "language_model"), text / FACTOR)
    assert torch.equal(table(model, "audio_tower"), sound)
    patch_model(model.audio_tower, "linear", factor=4.0)
    assert torch.equal(table(model, "audio_tower"), sound / 4)
    assert model.config.audio_config.max_position_embeddings == 4 * TRAINED
    unpatch_model(model)
    assert torch.equal(table(model, "language_model"), text)
    assert torch.equal(table(model, "audio_tower"), sound / 4), "undoing the one leaves the other"
    assert torch.equal(table(unpatch_model(model.audio_tower), ""), sound)


def test_an_encoder_with_a_counter_as_long_as_its_length_is_refused() -> None:
    model = tiny_model(tiny_config("nomic_bert"))
    before = whole_state(model)
    with pytest.raises(ValueError, match=r"embeddings\.\w+ has as many rows as the config has max_position_embeddings"):
        patch_model(model, "linear", factor=FACTOR)
    assert_untouched(model, before)
    patch_model(model, "none")  # no longer: nothing to refuse


@pytest.mark.parametrize("model_type", ["wav2vec2-conformer", "wav2vec2-bert"])
def test_a_rotary_module_with_tables_of_its_own_is_refused(model_type: str) -> None:
    config = AutoConfig.for_model(
        model_type, **_SIZES | {"position_embeddings_type": "rotary", "conv_dim": (8,), "conv_stride": (5,)},
        conv_kernel=(10,), num_feat_extract_layers=1, num_conv_pos_embedding_groups=2, num_conv_pos_embeddings=8,
    )  # fmt: skip
    model = tiny_model(config)
    before = whole_state(model)
    with pytest.raises(ValueError, match=r"not understood: encoder.embed_positions \(Wav2Vec2\w+RotaryPositional"):
        patch_model(model, "linear")
    assert_untouched(model, before)


TEXT_ONLY = {
    "mistral3": ["language_model.rotary_emb"],  # its tower's config has a vocab_size
    "voxtral_realtime": ["language_model.rotary_emb"],  # its encoder's has one too, and a length
    "musicflamingo": ["language_model.rotary_emb"],  # a time embedding in between
    "llama4": ["language_model.model.rotary_emb"],  # a table of complex numbers in the tower
    "t5gemma": ["encoder.rotary_emb", "decoder.rotary_emb"],  # two texts
    "moonshine": ["encoder.rotary_emb", "decoder.rotary_emb"],  # one config for sound and text
}


@pytest.mark.parametrize("model_type", TEXT_ONLY)
def test_what_reads_text_is_told_from_what_sees_and_hears(model_type: str) -> None:
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(model_type))
    assert [site.name for site in find_rotary(model)] == TEXT_ONLY[model_type]
