"""Tokenizers that split text in unlike ways: a trained one, single characters, and byte pairs after a BOS."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rope_scaling.eval.embedded import EMBEDDED

NAMES = ["trained", "characters", "byte pairs after <s>"]
TINY = str(EMBEDDED["tiny-llama-512"])


@cache
def tokenizer(name: str = "trained") -> PreTrainedTokenizerBase:
    if name == "trained":
        made: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(TINY)
        return made
    return characters() if name == "characters" else byte_pairs()


def characters() -> PreTrainedTokenizerBase:
    """A byte is a token."""
    made = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


def byte_pairs() -> PreTrainedTokenizerBase:
    """Merges of the embedded text's bytes, digits together, each text after <s>."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    made.train_from_iterator([EMBEDDED["macbeth"].read_text(encoding="utf-8")], trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
