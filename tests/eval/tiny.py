"""A random Llama and a tokenizer small enough to be made anew in every test."""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TRAINED = 32  # tokens


def tiny_llama(**rope: object) -> LlamaForCausalLM:
    """The same weights every time; `rope` goes into `rope_parameters`."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=TRAINED,
        initializer_range=0.3,  # far enough from uniform that positions matter
        rope_parameters={"rope_type": "default", "rope_theta": 100.0, **rope},
    )
    return LlamaForCausalLM(config).eval()


def tiny_text(tokens: int = 100) -> torch.Tensor:
    return torch.randint(3, 300, (tokens,), generator=torch.Generator().manual_seed(1))


def tiny_checkpoint(folder: Path, *, bos: bool = False) -> Path:
    """The model and a tokenizer that makes one token of every character."""
    tiny_llama().save_pretrained(folder)
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {chr(32 + i): 3 + i for i in range(200)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    if bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    return folder
