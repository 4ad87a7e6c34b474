"""Whether llama.cpp, given what `rope-scaling extend` writes, predicts what the patched model does past its length.

    pip install llama-cpp-python        # compiles llama.cpp; six minutes on two cores
    python benchmarks/llama_cpp.py "$(rope-scaling fetch smollm2)" "$(rope-scaling fetch paradise-lost)" --tokens 9216

The llama checkpoint is written to a GGUF file in float32, the file is extended once for each scheme, llama.cpp reads
the text with a float32 cache, and so does the patched model in Transformers. Compared are the distributions of the next
token at the last positions, all of them past the trained length. The row `none` is the unscaled model in both; the
column KL to none says how far a scheme is from that, and so what a scheme that was silently ignored would show.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFWriter
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from rope_scaling import convert_projection, parse_scheme
from rope_scaling.extend.gguf.copy import extend_gguf, open_gguf
from rope_scaling.extend.gguf.rope import plan_gguf
from rope_scaling.patches import patch_model, unpatch_model

CHUNK = 512
OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
OF_A_LAYER = {
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


def write_gguf(folder: Path, path: Path) -> None:
    """A llama in one safetensors file as llama.cpp's converter writes it, in float32 and without a tokenizer."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_tokenizer_model("none")
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    with safe_open(folder / "model.safetensors", framework="pt") as held:
        for name in held.keys():  # noqa: SIM118
            weight = held.get_tensor(name).float()
            for kind, count in heads.items():
                if name.endswith(f"{kind}.weight"):  # llama.cpp rotates neighbours
                    weight = convert_projection(weight, count, to="interleaved")
            writer.add_tensor(gguf_name(name), weight.contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    if name in OUTER:
        return OUTER[name]
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{OF_A_LAYER[rest.removesuffix('.weight')]}.weight"


@torch.no_grad()
def by_transformers(folder: Path, ids: list[int], last: int, schemes: list[str]) -> dict[str, np.ndarray]:
    """Log-probabilities of the next token at the last positions, (last, vocab), float64."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = {}
    for scheme in schemes:
        if scheme != "none":
            patch_model(model, parse_scheme(scheme))
        cache, logits = None, []
        for start in range(0, len(ids), CHUNK):
            out = model(torch.tensor([ids[start : start + CHUNK]]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            logits = [*logits, out.logits[0]][-(-(-last // CHUNK) + 1) :]
        found[scheme] = torch.cat(logits)[-last:].double().log_softmax(-1).numpy()
        if scheme != "none":
            unpatch_model(model)
    return found


def by_llama_cpp(path: Path, ids: list[int], last: int, threads: int) -> np.ndarray:
    """The same from a GGUF file."""
    here = Path(__file__).resolve().parent  # Python looks beside a script first, and this one has the package's name
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != here]
    from llama_cpp import GGML_TYPE_F32, Llama

    told = {"n_batch": CHUNK, "n_ubatch": CHUNK, "n_threads": threads, "n_threads_batch": threads, "logits_all": True}
    llm = Llama(str(path), n_ctx=len(ids), type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32, verbose=False, **told)
    llm.eval(ids)
    logits = np.array(llm.scores[len(ids) - last : len(ids)], dtype=np.float64)
    llm.close()
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def kl(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Nats at each position."""
    return (np.exp(one) * (one - other)).sum(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=9216)
    parser.add_argument("--last", type=int, default=256, help="positions compared, the last ones")
    parser.add_argument("--threads", type=int, default=2, help="of llama.cpp")
    parser.add_argument("--scheme", action="append", help="linear:factor=2 and yarn:factor=4 unless given")
    options = parser.parse_args()
    schemes = ["none", *(options.scheme or ["linear:factor=2", "yarn:factor=4"])]
    text = options.text.read_text(encoding="utf-8")[: 8 * options.tokens]
    ids = AutoTokenizer.from_pretrained(options.checkpoint)(text)["input_ids"][: options.tokens]
    started = time.monotonic()
    meant = by_transformers(options.checkpoint, ids, options.last, schemes)
    print(f"Transformers: {time.monotonic() - started:.0f} s")
    print("| scheme | greatest difference of a probability | mean KL | greatest KL | same first choice | KL to none |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain.gguf"
        write_gguf(options.checkpoint, plain)
        for scheme in schemes:
            path = plain
            if scheme != "none":
                path = Path(scratch) / "extended.gguf"
                source = open_gguf(plain)
                plan = plan_gguf(source.metadata, source.tensors, parse_scheme(scheme))
                extend_gguf(source, plan, path, force=True, tick=lambda copied: None)
            got = by_llama_cpp(path, ids, options.last, options.threads)
            apart, ours = kl(meant[scheme], got), meant[scheme]
            gap = np.abs(np.exp(ours) - np.exp(got)).max()
            print(
                f"| `{scheme}` | {gap:.1e} | {apart.mean():.1e} | {apart.max():.1e} "
                f"| {(ours.argmax(-1) == got.argmax(-1)).mean():.1%} | {kl(ours, meant['none']).mean():.2f} |",
                flush=True,
            )
    print(f"{len(ids)} tokens, the last {options.last} compared, {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
