"""Tiny random models of every causal-LM architecture that this Transformers has, shrunk from its own default config."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

TRAINED = 32
"""L of every tiny model, in tokens."""

_SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "vocab_size_per_layer_input": 97,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    **dict.fromkeys(["hidden_size", "n_embd", "d_model", "embed_dim", "lru_width", "attention_hidden_size"], 64),
    **dict.fromkeys(["hidden_size_global", "dim_model_base", "embedding_size", "hidden_size_per_layer_input"], 64),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads"], 4),
    **dict.fromkeys(["num_key_value_heads", "kv_n_heads", "num_query_groups", "cross_attn_k"], 2),
    **dict.fromkeys(["head_dim", "kv_channels", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"], 16),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "max_seq_len", "model_max_length"], TRAINED),
    **dict.fromkeys(["original_max_position_embeddings"], TRAINED),
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"], 4),
    **dict.fromkeys(["num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k"], 2),
    **dict.fromkeys(["n_group", "topk_group", "num_expert_group", "n_shared_experts", "num_shared_experts"], 1),
    **dict.fromkeys(["moe_num_shared_experts", "zero_expert_num"], 1),
    **dict.fromkeys(["q_lora_rank", "kv_lora_rank", "index_head_dim", "o_lora_rank", "router_hidden_size"], 32),
    **dict.fromkeys(["index_n_heads", "top_k_experts", "linear_num_key_heads", "linear_num_value_heads"], 2),
    **dict.fromkeys(["linear_key_head_dim", "linear_value_head_dim", "linear_head_dim"], 16),
    **dict.fromkeys(["nemo_conv_channels", "ext_pw_out_channel", "depthwise_separable_out_channel", "chunk_size"], 16),
    "num_blocks": 1,
    "image_size": 28,
    "crop_size": 28,
    "mamba_chunk_size": 16,
    "index_topk": 64,
    "rotary_dim": 8,
    "initializer_range": 0.1,
    "num_kv_shared_layers": 0,
}
_INNER = ("intermediate_size", "intermediate_size_mlp", "ffn_dim", "ffn_hidden_size", "ff_dim")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_ALWAYS = ("head_dim", "num_key_value_heads", "pad_token_id", "bos_token_id", "eos_token_id")

_OWN: dict[str, dict[str, Any]] = {
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0}},
    "dots3_note_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 32,
        "swa_kv_lora_rank": 32,
        "swa_head_dim": 32,
        "swa_qk_nope_head_dim": 16,
        "swa_v_head_dim": 16,
        "head_dim": 32,
    },
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
        "ngram_vocab_size_base": 100,
        "hc_lowrank": 16,
    },
    "bamba": {"attn_layer_indices": [1]},
    "deepseek_v4": {"head_dim": 64},
    "mimo_v2_flash": {"head_dim": 48},
    "granitemoehybrid": {"position_embedding_type": "rope", "layer_types": ["mamba", "attention"]},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "max_position_embeddings": TRAINED},
    "zamba2": {"use_mem_rope": True},
    "blt": {"encoder_hash_byte_group_vocab": 100},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "zaya": {"num_experts_per_tok": 1, "layer_types": ["hybrid", "hybrid_sliding"], "sliding_window": 16},
    "gemma4_text": {"global_head_dim": 32},
    "gemma4_unified_text": {"global_head_dim": 32},
    "lfm2": {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2, "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2},
}
"""What the rules below cannot know: model type -> keys of its config."""


def tiny_config(model_type: str, **changes: Any) -> PreTrainedConfig:
    """The default config of an architecture with few, narrow layers: the fewest that hold one of each kind."""
    cls = CONFIG_MAPPING[model_type]
    config: PreTrainedConfig = cls(**(_shrunk(cls()) | _OWN.get(model_type, {}) | changes))
    return config


def tiny_model(config: PreTrainedConfig) -> PreTrainedModel:
    """The same weights whatever the RoPE in the config."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weights in model.parameters():
            if not weights.any():  # some start as no attention at all
                weights.normal_(std=0.1)
    return model.eval()


def _shrunk(default: PreTrainedConfig, *, nested: bool = False) -> dict[str, Any]:
    held = default.to_dict()
    held |= {own: held[told] for own, told in default.attribute_map.items() if told in held}
    names = {field.name for field in dataclasses.fields(default)} if not nested else set(held)
    sizes = {k: v for k, v in _SIZES.items() if k in names and (held.get(k) is not None or k in _ALWAYS)}
    for key in (k for k in names if k.endswith(_INNER) and held.get(k)):
        sizes[key] = held[key] = [64] * len(held[key]) if isinstance(held[key], list) else 64
    if "qk_rope_head_dim" in names and "num_key_value_heads" in sizes:
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]  # latent attention has keys for every head
    if "rope_parameters" in names and held.get("rope_parameters"):
        sizes["rope_parameters"] = _plain(held["rope_parameters"])
    sizes |= _few_layers(held, names)
    if len(set(sizes.get("layer_types", []))) > 1 and held.get("sliding_window"):
        sizes["sliding_window"] = TRAINED // 2  # within L: such layers are left alone
    for key, value in vars(default).items():
        if isinstance(value, PreTrainedConfig):
            sizes[key] = value.to_dict() | _shrunk(value, nested=True)
    return sizes


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Rope parameters without their scaling."""
    if any(isinstance(value, dict) for value in parameters.values()):
        return {key: _plain(value) if isinstance(value, dict) else value for key, value in parameters.items()}
    if parameters.get("rope_type", parameters.get("type")) in ("default", "proportional", None):
        return parameters
    keep = ("rope_theta", "partial_rotary_factor", "llama_4_scaling_beta")
    plain = {"rope_type": "default"} | {key: parameters[key] for key in keep if key in parameters}
    by_position = "llama_4_scaling_beta" in plain  # a temperature that grows with each L positions
    return plain | {"original_max_position_embeddings": TRAINED} if by_position else plain


def _few_layers(held: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The first layers of each kind, at least two; a list with an entry for every layer says of what kind it is."""
    counts = [key for key in _LAYERS if key in names and held.get(key)]
    if not counts:
        return {}
    count = held[counts[0]]
    lists = {k: v for k, v in held.items() if k in names and isinstance(v, (list, tuple)) and len(v) == count}
    numbers = [key for key, values in lists.items() if list(values) == list(range(count))]  # layers by number
    kinds: dict[str, int] = {}
    for i in range(count):
        for key in lists.keys() - numbers:
            kinds.setdefault(f"{key}={lists[key][i]}", i)
    kept = sorted({*kinds.values()} if len({*kinds.values()}) > 1 else {0, 1})
    sizes = {key: [values[i] for i in kept] for key, values in lists.items()}
    return {key: len(kept) for key in counts} | sizes | {key: list(range(len(kept))) for key in numbers}
