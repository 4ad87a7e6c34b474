"""Ways of calling a model that once gave it the wrong scale, or kept it alive."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSpeechSeq2Seq, DynamicCache, QuantizedCache

from rope_scaling import patch_model, rope_length, unpatch_model
from rope_scaling.patches.dynamic import growth
from tests.models import TRAINED, tiny_model, tokens
from tests.patches import test_beyond_text_encoders as encoders
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

GREEDY: dict[str, Any] = {"do_sample": False, "eos_token_id": -1}


@pytest.mark.parametrize("plan", [200, [LONGEST]])
def test_a_longer_plan_on_a_begun_cache_rotates_its_keys_where_no_early_return_is(
    plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dynamic(num_hidden_layers=1)
    cache = new_cache(model, "dynamic")
    with rope_length(model, 100):
        read(model, TEXT, cache, [90])
    monkeypatch.setattr(growth, "_surely_settled", lambda *_: False)  # as on every device but the CPU
    with rope_length(model, plan):
        grown = read(model, TEXT[:, 90:], cache, [10])
    once = whole(model, TEXT[:, :100], rope_length=scaled_for(model, cache)[0])
    assert apart(grown[:, -1], once[:, -1]) < 1e-5


def test_a_longer_plan_on_a_cache_that_cannot_grow_is_an_error() -> None:
    model = dynamic()
    cache = QuantizedCache(backend="quanto", config=model.config, residual_length=512)
    with rope_length(model, 100):
        read(model, TEXT, cache, [90])
    with pytest.raises(ValueError, match="cannot grow past 100 tokens"), rope_length(model, LONGEST):
        read(model, TEXT[:, 90:], cache, [4])


def test_keys_with_a_gradient_are_not_rotated_anew() -> None:
    model = dynamic()
    cache = DynamicCache(config=model.config)
    model(TEXT[:, :60], past_key_values=cache)
    with pytest.raises(ValueError, match="cached keys carry a gradient"):
        model(TEXT[:, 60:100], past_key_values=cache)


def test_a_decoder_is_planned_for_its_own_tokens_and_not_for_the_sound() -> None:
    torch.manual_seed(0)
    model: Any = AutoModelForSpeechSeq2Seq.from_config(encoders.tiny_config("moonshine")).eval()
    patch_model(model, "dynamic-yarn", factor=FACTOR)
    sound = torch.randn(1, 384 * 3 * TRAINED)
    out = model.generate(
        sound, attention_mask=torch.ones_like(sound), max_new_tokens=10, return_dict_in_generate=True, **GREEDY
    )
    cache = out.past_key_values.self_attention_cache
    assert vars(cache)["_rope_scaling_rows"].rows.tolist() == [0]
    with torch.no_grad():
        model(sound, decoder_input_ids=tokens(10), past_key_values=out.past_key_values, use_cache=True)


@pytest.mark.parametrize("kind", ["bool", "float", "dict"])
def test_padding_counts_for_nothing_in_a_mask_of_four_dimensions(kind: str) -> None:
    model, plain = dynamic(), tiny_model()
    pad, count = 50, 50
    ids = torch.cat((torch.zeros(1, pad, dtype=torch.int64), TEXT[:, :count]), dim=1)
    visible = torch.ones(pad + count, pad + count, dtype=torch.bool).tril()
    visible[:, :pad] = False
    visible[:pad, pad] = True  # a row that sees nothing would be no number
    mask: Any = visible[None, None]
    if kind != "bool":
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    alone = whole(plain, TEXT[:, :count])
    if kind == "dict":
        from rope_scaling.patches.dynamic.call import span

        last, first = span(torch.arange(100)[None, None], {"full_attention": mask}, None)
        assert (last - first + 1).tolist() == [count]
        return
    assert apart(whole(model, ids, attention_mask=mask)[:, pad + 1 :], alone[:, 1:]) < 1e-4


def test_candidates_that_are_taken_back_do_not_grow_a_row() -> None:
    model = dynamic()
    for seed in range(4):
        ids = tokens(15, seed=seed).repeat(1, 4)  # something to look up
        meant = model.generate(ids, max_new_tokens=60, **GREEDY)
        assert torch.equal(model.generate(ids, max_new_tokens=60, prompt_lookup_num_tokens=8, **GREEDY), meant)


def test_two_models_are_planned_at_once() -> None:
    one, other = dynamic(), dynamic("dynamic-linear")
    short = TEXT[:, :20]
    with rope_length(one, LONGEST), rope_length(other, LONGEST):
        assert apart(whole(one, short), whole(native(FACTOR), short)) < 1e-5
        assert apart(whole(other, short), whole(native(FACTOR, "linear"), short)) < 1e-5
        other.generate(short, max_new_tokens=3, **GREEDY)
        assert apart(whole(one, short), whole(native(FACTOR), short)) < 1e-5


@pytest.mark.parametrize("plan", [LONGEST, [LONGEST], torch.tensor(LONGEST), torch.tensor([LONGEST])])
def test_generate_keeps_to_a_longer_plan_of_any_form(plan: Any) -> None:
    model = dynamic()
    with rope_length(model, plan):
        out = model.generate(TEXT[:, :40], max_new_tokens=10, **GREEDY)
    assert torch.equal(out, native(FACTOR).generate(TEXT[:, :40], max_new_tokens=10, **GREEDY))


def test_a_plan_for_each_row_is_no_less_than_the_rows_own() -> None:
    model = dynamic()
    ids = torch.cat((TEXT[:, :40], tokens(40, seed=3)))
    settings = {"max_new_tokens": 80, "return_dict_in_generate": True, "output_logits": True, **GREEDY}
    with rope_length(model, [60, LONGEST]):
        both = torch.stack(model.generate(ids, **settings).logits, dim=1)
    first = torch.stack(model.generate(ids[:1], **settings).logits, dim=1)
    second = torch.stack(native(FACTOR).generate(ids[1:], **settings).logits, dim=1)
    assert apart(both[:1], first) < 1e-4
    assert apart(both[1:], second) < 1e-4


def test_a_static_cache_in_half_precision_forgets_what_it_held() -> None:
    model = dynamic().to(torch.bfloat16)
    cache, fresh = new_cache(model, "static"), new_cache(model, "static")
    read(model, tokens(200, seed=9), cache, [60, *[1] * 100])
    cache.reset()
    steps = [60, *[1] * 40]
    assert torch.equal(read(model, TEXT, cache, steps), read(model, TEXT, fresh, steps))


def test_nothing_keeps_a_cache_or_a_model_alive() -> None:
    gc.collect()
    gc.disable()
    try:
        model = dynamic()
        cache = new_cache(model, "dynamic")
        read(model, TEXT, cache, [60, 40])
        model.generate(TEXT[:, :20], max_new_tokens=2, **GREEDY)
        of_cache, of_model = weakref.ref(cache), weakref.ref(model)
        del cache
        assert of_cache() is None
        plain = tiny_model()
        of_plain = weakref.ref(plain)
        del plain, model
        assert (of_model() is None) == (of_plain() is None)
    finally:
        gc.enable()


def test_an_interrupted_call_leaves_no_plan_behind() -> None:
    model = dynamic()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = model.get_submodule("model.norm").register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        whole(model, TEXT[:, :20], rope_length=LONGEST)
    handle.remove()
    assert torch.equal(whole(model, TEXT[:, :20]), whole(tiny_model(), TEXT[:, :20]))


def test_a_cache_of_inference_mode_grows_outside_of_it() -> None:
    model = dynamic(num_hidden_layers=1)
    cache, other = new_cache(model, "dynamic"), new_cache(model, "dynamic")
    with torch.inference_mode():
        model(TEXT[:, :60], past_key_values=cache)
    read(model, TEXT, other, [60])
    assert apart(read(model, TEXT[:, 60:], cache, [40]), read(model, TEXT[:, 60:], other, [40])) < 1e-6


def test_a_cache_that_holds_more_than_the_ids_is_planned_with_what_it_holds() -> None:
    model = dynamic()
    cache = new_cache(model, "dynamic")
    with rope_length(model, 160):
        read(model, TEXT, cache, [50])
    mask = torch.ones(1, 100, dtype=torch.int64)
    out = model.generate(TEXT[:, 50:100], attention_mask=mask, past_key_values=cache, max_new_tokens=60, **GREEDY)
    assert out.shape[1] == 110
    assert scaled_for(model, cache)[0] < 170  # 160, up to the next row of the grid


def test_a_users_own_generate_stays() -> None:
    model = tiny_model()

    def own(*args: Any, **kwargs: Any) -> Tensor:
        return type(model).generate(model, *args, **kwargs)[:, :1]

    model.generate = own
    patch_model(model, "dynamic-yarn", factor=FACTOR)
    assert model.generate(TEXT[:, :20], max_new_tokens=3, **GREEDY).shape[1] == 1
    unpatch_model(model)
    assert model.generate is own
