"""Engines that remap positions themselves: the flags and keys that come nearest to a remap scheme."""

from __future__ import annotations

from rope_scaling.remap import Affine
from rope_scaling.rope import Rope
from rope_scaling.schemes import DCA, Remap, SelfExtend

_READS_DCA = ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next")
"""Architectures whose code in vLLM or SGLang reads `dual_chunk_attention_config`."""


def kindred(scheme: Remap, rope: Rope, model_type: str) -> dict[str, str]:
    """What each engine that has such an attention is to be told, by engine; empty where none has it.

    Read from ggml-org/llama.cpp common/arg.cpp (-gan, -gaw: llama-completion and llama-passkey, llama-cli before
    December 2025; the server dropped them in pull request 9860), and from `dual_chunk_flash_attn` of vLLM (pull request
    11844; removed in 0.11.0 by pull request 25351, issue 49296) and of SGLang.
    """
    if isinstance(scheme, SelfExtend):
        return {"llama.cpp": _group_attention(scheme, rope)}
    if isinstance(scheme, DCA) and model_type in _READS_DCA:
        return _dual_chunk(scheme, rope)
    return {}


def _group_attention(scheme: SelfExtend, rope: Rope) -> str:
    """One group for all queries, the largest that the scheme comes to; the window must be a multiple of it."""
    far = [band for band in scheme.bands(rope) if not band.plain]
    if not far:
        return "needs no flags: nothing is remapped"
    place = far[-1].keys
    group = round(place.divisor) if isinstance(place, Affine) else 1
    window = max(group, far[-1].region.nearest // group * group)
    length = round(rope.original_max_position_embeddings * (scheme.factor or 1.0))
    return (
        f"llama-completion -m MODEL.gguf -c {length} --grp-attn-n {group} --grp-attn-w {window} (llama-cli in older "
        "versions; llama-server has no such flags since October 2024): one group for every query, and a window that "
        "moves in steps, so texts within the trained length change as well"
    )


def _dual_chunk(scheme: DCA, rope: Rope) -> dict[str, str]:
    """Chunk and window; the engines cap at the chunk size, as the authors' code does."""
    trained = rope.original_max_position_embeddings
    chunk = max(1, trained * 3 // 4) if scheme.chunk is None else scheme.chunk
    keys = f'"chunk_size": {trained}, "local_size": {trained - chunk}'
    if scheme.log_scale:  # theirs is 0.1 ln(T / L) + 1
        keys += f', "original_max_position_embeddings": {trained}'
    length = round(trained * (scheme.factor or 1.0))
    said = f'"dual_chunk_attention_config": {{{keys}}} and "max_position_embeddings": {length} in config.json'
    return {
        "sglang": f"{said}, and --attention-backend dual_chunk_flash_attn",
        "vllm": f"{said}, VLLM_ATTENTION_BACKEND=DUAL_CHUNK_FLASH_ATTN and --enforce-eager (up to 0.10; later versions "
        "have no such attention)",
    }
