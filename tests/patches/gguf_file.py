"""A tiny llama written as llama.cpp's converter writes one."""

from __future__ import annotations

from pathlib import Path

import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from transformers import PreTrainedModel

_OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_OF_A_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_proj": "ffn_gate",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(model: PreTrainedModel, path: Path, weights: str) -> None:
    """Write a llama to `path`, its matrices as `weights` ("F32", "Q8_0")."""
    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for name, weight in model.state_dict().items():
        _add(writer, _gguf_name(name), _as_llama_cpp_pairs(name, weight.float(), model), weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: GGUFWriter, name: str, weight: torch.Tensor, weights: str) -> None:
    kind = GGMLQuantizationType[weights if weight.ndim > 1 else "F32"]
    writer.add_tensor(name, quants.quantize(weight.contiguous().numpy(), kind), raw_dtype=kind)


def _gguf_name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{_OF_A_LAYER[rest.removesuffix('.weight')]}.weight"


def _as_llama_cpp_pairs(name: str, weight: torch.Tensor, model: PreTrainedModel) -> torch.Tensor:
    """Queries and keys with the two halves of each head interleaved: llama.cpp rotates neighbours."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    heads = weight.shape[0] // model.config.head_dim
    halves = weight.reshape(heads, 2, model.config.head_dim // 2, -1)  # (heads, half, pair, hidden)
    return halves.transpose(1, 2).reshape(weight.shape)
