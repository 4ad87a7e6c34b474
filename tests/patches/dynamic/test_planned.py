"""A length that is planned holds from the first token to the last: decoding equals one forward at that scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TextGenerationPipeline

from rope_scaling import patch_model, rope_length
from tests.models import TRAINED, tiny_config, tiny_model, tokens
from tests.patches.dynamic.models import (
    FACTOR,
    LONGEST,
    TEXT,
    apart,
    dynamic,
    native,
    new_cache,
    read,
    scaled_for,
    whole,
)

PROMPT = tokens(TRAINED - 10)
NEW = 3 * TRAINED  # passes the trained length on the way


def generate(model: Any, ids: Tensor = PROMPT, new: int = NEW, **options: Any) -> tuple[Tensor, Tensor]:
    """What greedy decoding gives, (rows, tokens), and the logits of each new token, (rows, new, vocab)."""
    settings = {"max_new_tokens": new, "do_sample": False, "eos_token_id": -1} | options
    out = model.generate(ids, return_dict_in_generate=True, output_logits=True, **settings)
    return out.sequences, torch.stack(out.logits, dim=1)


@pytest.mark.parametrize("scheme", ["dynamic-linear", "dynamic-ntk", "dynamic-yarn"])
def test_generate_plans_the_whole_length(scheme: str) -> None:
    model = dynamic(scheme)
    sequences, logits = generate(model)
    with rope_length(model, sequences.shape[1]):
        once = whole(model, sequences)
    assert apart(logits, once[:, -NEW - 1 : -1]) < 1e-4
    assert torch.equal(sequences[:, -NEW:], once[:, -NEW - 1 : -1].argmax(-1))


def test_it_is_the_scale_of_a_model_made_for_that_length() -> None:
    sequences, logits = generate(dynamic(), tokens(LONGEST - 100), 100)
    meant, native_logits = generate(native(FACTOR), tokens(LONGEST - 100), 100)
    assert torch.equal(sequences, meant)
    assert apart(logits, native_logits) < 1e-4


def test_within_the_trained_length_it_generates_what_the_unpatched_model_does() -> None:
    sequences, logits = generate(dynamic(), tokens(20), TRAINED - 20)
    meant, plain_logits = generate(tiny_model(), tokens(20), TRAINED - 20)
    assert torch.equal(sequences, meant)
    assert torch.equal(logits, plain_logits)


@pytest.mark.parametrize("beside", [10, 120])
def test_a_left_padded_row_is_planned_for_itself(beside: int) -> None:
    model = dynamic()
    width = PROMPT.shape[1] + beside
    mask = torch.ones(2, width, dtype=torch.int64)
    mask[0, :beside] = 0
    ids = torch.cat((torch.cat((torch.zeros(1, beside, dtype=torch.int64), PROMPT), dim=1), tokens(width, seed=7)))
    _, alone = generate(model, PROMPT, 30)
    _, both = generate(model, ids, 30, attention_mask=mask)
    assert apart(both[:1], alone) < 1e-4


def test_a_static_cache_holds_a_plan() -> None:
    model = dynamic()
    sequences, logits = generate(model, cache_implementation="static")
    meant, own = generate(model)
    assert torch.equal(sequences, meant)
    assert apart(logits, own) < 1e-4


@pytest.mark.gpu
def test_an_offloaded_cache_holds_a_plan() -> None:
    model = dynamic().to("cuda")
    sequences, logits = generate(model, PROMPT.to("cuda"), cache_implementation="offloaded")
    meant, own = generate(model, PROMPT.to("cuda"))
    assert torch.equal(sequences, meant)
    assert apart(logits, own) < 1e-4


def test_a_quantized_cache_holds_a_plan() -> None:
    options = {"cache_implementation": "quantized", "cache_config": {"backend": "quanto", "nbits": 4}}
    sequences, logits = generate(dynamic(), tokens(LONGEST - 100), 100, **options)
    meant, own = generate(native(FACTOR), tokens(LONGEST - 100), 100, **options)
    assert torch.equal(sequences, meant)
    assert apart(logits, own) < 1e-4


def test_without_a_cache_every_step_has_the_planned_scale() -> None:
    model = dynamic()
    sequences, logits = generate(model, new=30, use_cache=False)
    meant, own = generate(model, new=30)
    assert torch.equal(sequences, meant)
    assert apart(logits, own) < 1e-4


def test_beams_are_planned_like_their_prompt() -> None:
    model, ids = dynamic(), torch.cat((PROMPT, tokens(PROMPT.shape[1], seed=4)))
    settings = {"max_new_tokens": 40, "do_sample": False, "num_beams": 3, "eos_token_id": -1}
    both = model.generate(ids, **settings)
    one = model.generate(ids[1:], **settings)
    static = native((PROMPT.shape[1] + 40) / TRAINED)  # a row of the grid or not, the scale is nearly that
    assert torch.equal(both[1:], one)
    assert both.shape == static.generate(ids, **settings).shape


def test_an_assistant_changes_nothing() -> None:
    model, assistant = dynamic(), tiny_model(seed=1)
    meant, _ = generate(model, new=60)
    assert torch.equal(
        model.generate(PROMPT, assistant_model=assistant, max_new_tokens=60, do_sample=False, eos_token_id=-1), meant
    )
    patch_model(assistant, "dynamic-ntk", factor=FACTOR)
    assert torch.equal(
        model.generate(PROMPT, assistant_model=assistant, max_new_tokens=60, do_sample=False, eos_token_id=-1), meant
    )


def test_a_prompt_read_in_chunks_is_planned_as_well() -> None:
    model = dynamic()
    ids = tokens(150)
    meant, own = generate(model, ids, 20)
    sequences, logits = generate(model, ids, 20, prefill_chunk_size=40)
    assert torch.equal(sequences, meant)
    assert apart(logits, own) < 1e-4


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_reading_in_pieces_under_a_plan_is_reading_at_once(kind: str) -> None:
    model = dynamic()
    with rope_length(model, 200):
        pieces = read(model, TEXT, new_cache(model, kind), [50, 1, 49, 99, 1])
    assert apart(pieces, whole(model, TEXT[:, :200], rope_length=200)) < 1e-5


def test_a_plan_lives_with_its_cache() -> None:
    model = dynamic()
    cache = new_cache(model, "dynamic")
    with rope_length(model, 200):
        first = read(model, TEXT, cache, [50])
    rest = read(model, TEXT[:, 50:], cache, [150])
    assert apart(torch.cat((first, rest), dim=1), whole(model, TEXT[:, :200], rope_length=200)) < 1e-5


def test_each_row_can_have_its_own_plan() -> None:
    model = dynamic()
    ids = torch.cat((TEXT[:, :50], TEXT[:, :50]))
    both = whole(model, ids, rope_length=[50, LONGEST])
    assert torch.equal(both[:1], whole(tiny_model(), ids[:1]))
    assert apart(both[1:], whole(native(FACTOR), ids[1:])) < 1e-5
    as_tensor = whole(model, ids, rope_length=torch.tensor([50, LONGEST]))
    assert torch.equal(as_tensor, both)


def test_a_plan_shorter_than_the_text_is_overtaken() -> None:
    model = dynamic()
    assert torch.equal(whole(model, TEXT, rope_length=10), whole(model, TEXT))


def test_plans_are_nested_and_end_with_their_block() -> None:
    model = dynamic()
    short = TEXT[:, :20]
    with rope_length(model, LONGEST):
        with rope_length(model, 20):
            assert torch.equal(whole(model, short), whole(tiny_model(), short))
        long = whole(model, short)
        with pytest.raises(RuntimeError), rope_length(model, 30):
            raise RuntimeError
        assert torch.equal(whole(model, short), long)
    assert torch.equal(whole(model, short), whole(tiny_model(), short))


def test_a_plan_is_for_one_model() -> None:
    model, other = dynamic(), dynamic()
    with rope_length(other, LONGEST):
        assert torch.equal(whole(model, TEXT[:, :20]), whole(tiny_model(), TEXT[:, :20]))


def test_a_plan_of_a_static_model_changes_nothing() -> None:
    model = patch_model(tiny_model(), "yarn", factor=2)
    before = whole(model, TEXT[:, :20])
    with rope_length(model, LONGEST):
        assert torch.equal(whole(model, TEXT[:, :20]), before)


def test_a_plan_ends_with_generate_also_after_an_error() -> None:
    model = dynamic()
    with pytest.raises(ValueError, match="stop"):
        model.generate(PROMPT, max_new_tokens=100, logits_processor=[_stop])
    assert torch.equal(whole(model, PROMPT), whole(tiny_model(), PROMPT))


def _stop(*_: Any) -> Tensor:
    raise ValueError("stop")


def test_a_longer_plan_of_the_users_own_stands() -> None:
    model = dynamic()
    with rope_length(model, LONGEST):
        _, logits = generate(model, new=20)
    _, meant = generate(native(FACTOR), new=20)
    assert apart(logits, meant) < 1e-4


def test_the_next_turn_of_a_conversation_may_be_longer() -> None:
    model = dynamic(num_hidden_layers=1)
    cache = new_cache(model, "dynamic")
    first = model.generate(PROMPT, max_new_tokens=30, do_sample=False, eos_token_id=-1, past_key_values=cache)
    longer = torch.cat((first, tokens(40, seed=9)), dim=1)
    sequences, logits = generate(model, longer, 60, past_key_values=cache)
    once = whole(model, sequences, rope_length=scaled_for(model, cache)[0])
    assert scaled_for(model, cache)[0] >= sequences.shape[1]
    assert apart(logits, once[:, -61:-1]) < 1e-4


def test_a_pipeline_generates_as_the_model_does(tmp_path: Any) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({f"w{i}": i for i in range(97)}, unk_token="w3"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", padding_side="left")
    model = dynamic()
    pipeline = TextGenerationPipeline(model=model, tokenizer=tokenizer)
    texts = [" ".join(f"w{i}" for i in ids) for ids in (PROMPT[0].tolist(), tokens(100, seed=6)[0].tolist())]
    settings = {"max_new_tokens": 40, "do_sample": False, "eos_token_id": -1, "return_full_text": False}
    alone = [pipeline(text, **settings) for text in texts]
    together = pipeline(texts, batch_size=2, **settings)
    assert together == alone


def test_nobody_is_warned_of_the_length_that_the_config_keeps(caplog: pytest.LogCaptureFixture) -> None:
    from transformers.utils import logging

    logging.enable_propagation()  # type: ignore[no-untyped-call]
    generate(dynamic(), new=100)
    logging.disable_propagation()  # type: ignore[no-untyped-call]
    assert "predefined maximum length" not in caplog.text


def test_continuous_batching_is_refused() -> None:
    with pytest.raises(ValueError, match="continuous batching lays many sequences into one row"):
        dynamic().init_continuous_batching()


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, [], [10, 0], "200", None])
def test_a_length_must_be_positive(wrong: Any) -> None:
    with (
        pytest.raises(ValueError, match="rope_length must be a positive number of tokens"),
        rope_length(dynamic(), wrong),
    ):
        pass


def test_a_length_for_another_number_of_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="given for 3 rows, and this batch has 2"):
        whole(dynamic(), torch.cat((PROMPT, PROMPT)), rope_length=[10, 20, 30])


def test_a_plan_needs_a_model() -> None:
    with pytest.raises(TypeError, match=r"torch\.nn\.Module, got str"), rope_length("model", 10):  # type: ignore[arg-type]
        pass


def test_sliding_windows_hold_a_plan() -> None:
    model = patch_model(tiny_model(tiny_config("mistral", sliding_window=48)), "dynamic-yarn", factor=FACTOR)
    sequences, logits = generate(model, new=100)
    once = whole(model, sequences, rope_length=sequences.shape[1])
    assert apart(logits, once[:, -101:-1]) < 1e-4
