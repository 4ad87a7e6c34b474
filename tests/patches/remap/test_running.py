"""Reading and writing with remapped positions: caches, generation, padding, packing, masks, implementations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rope_scaling import patch_model, unpatch_model
from rope_scaling.patches.remap import attention, call
from rope_scaling.patches.remap.engine import attend_one_query, key_turn
from tests.architectures.shrink import tiny_config as axes_config
from tests.architectures.shrink import tiny_model as axes_model
from tests.models import TRAINED, tiny_model, tokens
from tests.patches.remap.models import TEXT, apart, new_cache, read, remapped, whole

SETTINGS: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
PROMPT = TEXT[:, : TRAINED - 4]


def written(model: Any, prompt: Tensor = PROMPT, **more: Any) -> list[list[int]]:
    """The tokens that follow a prompt, by row."""
    out: Tensor = model.generate(prompt, **(SETTINGS | more))
    return out[:, prompt.shape[1] :].tolist()


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("scheme", ["self-extend", "dca"])
def test_a_cache_filled_in_any_chunks_is_one_forward(scheme: str, kind: str) -> None:
    model = remapped(scheme)
    wanted = whole(model)
    for chunks in ([50, 1, 1, 20, 1, 1, 118], [1] * 4 + [TRAINED, 124], [TEXT.shape[1]]):
        assert apart(read(model, TEXT, new_cache(model, kind), chunks), wanted) < 1e-5


def test_the_angles_of_a_step_are_computed_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = remapped(num_hidden_layers=3), []
    cache = new_cache(model, "dynamic")
    read(model, TEXT, cache, [TEXT.shape[1] - 1])
    monkeypatch.setattr(call, "key_turn", lambda *given: asked.append(given) or key_turn(*given))
    read(model, TEXT[:, -1:], cache, [1])
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("implementation", "kind", "own"),
    [("sdpa", "dynamic", True), ("sdpa", "static", True), ("eager", "dynamic", False)],
)
def test_on_a_cpu_a_step_asks_sdpa_for_nothing(
    monkeypatch: pytest.MonkeyPatch, implementation: str, kind: str, own: bool
) -> None:
    model = remapped()
    model.set_attn_implementation(implementation)
    cache, asked = new_cache(model, kind), []
    wanted = whole(model)[:, -1:]
    read(model, TEXT, cache, [TEXT.shape[1] - 1])

    def counted(*given: Any, **more: Any) -> Tensor:
        asked.append(given)
        return attend_one_query(*given, **more)

    monkeypatch.setattr(attention, "attend_one_query", counted)
    assert apart(read(model, TEXT[:, -1:], cache, [1]), wanted) < 1e-5
    assert bool(asked) == own


def test_a_step_under_autocast_or_with_a_gradient_is_left_to_sdpa(monkeypatch: pytest.MonkeyPatch) -> None:
    model = remapped()
    monkeypatch.setattr(attention, "attend_one_query", None)
    for asked in (torch.autocast("cpu", torch.bfloat16), torch.enable_grad()):
        cache = new_cache(model, "dynamic")
        read(model, TEXT, cache, [TEXT.shape[1] - 1])
        with asked:
            assert model(TEXT[:, -1:], past_key_values=cache).logits.isfinite().all()


def test_within_the_trained_length_a_static_cache_changes_no_bit() -> None:
    plain, model = tiny_model(), remapped()
    for chunks in ([TRAINED], [40, 1, 1, 1], [10, 20, 30]):
        mine = read(model, TEXT, new_cache(model, "static"), chunks)
        assert torch.equal(mine, read(plain, TEXT, new_cache(plain, "static"), chunks))


@pytest.mark.parametrize(
    "way",
    [
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"prompt_lookup_num_tokens": 3},
        {"assistant_model": tiny_model()},
    ],
    ids=lambda way: next(iter(way)),
)
def test_all_ways_of_generating_write_the_same(way: dict[str, Any]) -> None:
    model = remapped()
    assert written(model, **way) == written(model)


def test_generating_past_the_configs_length_warns_nobody(caplog: pytest.LogCaptureFixture) -> None:
    model = remapped(max_position_embeddings=42)
    written(model)
    assert "predefined maximum length (42)" not in caplog.text
    written(unpatch_model(model))
    assert "predefined maximum length (42)" in caplog.text


def test_continuous_batching_is_refused() -> None:
    model = remapped()
    with pytest.raises(ValueError, match="does not take cache"):
        model(TEXT, cache=object(), use_cache=False)


def test_positions_on_several_axes_are_a_texts_or_an_error() -> None:
    model = patch_model(axes_model(axes_config("qwen3_5_text")), "self-extend", factor=4)
    positions = torch.arange(48).expand(3, 1, 48)
    assert torch.equal(whole(model, TEXT[:, :48], position_ids=positions), whole(model, TEXT[:, :48]))
    with pytest.raises(ValueError, match="by height and width"):
        whole(model, TEXT[:, :48], position_ids=positions * torch.arange(1, 4)[:, None, None])


def test_beams_over_a_cache_are_those_without() -> None:
    model = remapped()
    assert written(model, num_beams=3) == written(model, num_beams=3, use_cache=False)


def test_rows_of_unequal_length_are_written_as_each_alone() -> None:
    model, other = remapped(), tokens(2 * TRAINED, seed=7)
    padded = torch.cat((torch.zeros(1, 2 * TRAINED - PROMPT.shape[1], dtype=torch.int64), PROMPT), dim=1)
    mask = torch.ones(2, 2 * TRAINED, dtype=torch.int64)
    mask[0, : -PROMPT.shape[1]] = 0
    both = written(model, torch.cat((padded, other)), attention_mask=mask)
    assert both == [*written(model), *written(model, other)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_no_token(side: str) -> None:
    model, real = remapped(), slice(20, None) if side == "left" else slice(0, -20)
    text = TEXT.clone()
    mask = torch.zeros_like(text)
    mask[:, real] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = whole(model, text, attention_mask=mask, position_ids=positions)[:, real]
    assert apart(out, whole(model, text[:, real])) < 1e-5


@pytest.mark.parametrize("count", [50, 150])
def test_padding_on_the_left_is_no_token_where_no_positions_are_given(count: int) -> None:
    model, text = remapped(), TEXT[:, :count]
    padded = torch.cat((torch.zeros(1, 78, dtype=torch.int64), text), dim=1)
    mask = (torch.arange(78 + count) >= 78).long()[None]
    wanted = whole(model, text)
    assert apart(whole(model, padded, attention_mask=mask)[:, 78:], wanted) < 1e-5
    cache = new_cache(model, "dynamic")
    out = []
    with torch.no_grad():
        for first, last in ((0, 60), (60, 100), (100, 101), (101, 78 + count)):
            part = {"attention_mask": mask[:, :last], "past_key_values": cache}
            out.append(model(padded[:, first:last], **part).logits)
    assert apart(torch.cat(out, dim=1)[:, 78:], wanted) < 1e-5


@pytest.mark.parametrize("count", [50, 150])
def test_positions_that_begin_anywhere_count_from_their_first(count: int) -> None:
    model, text = remapped(), TEXT[:, :count]
    positions = torch.arange(300, 300 + count)[None]
    assert apart(whole(model, text, position_ids=positions), whole(model, text)) < 1e-4, "float32 angles at 300"
    cache = new_cache(model, "dynamic")
    with torch.no_grad():
        parts = [
            model(text[:, part], position_ids=positions[:, part], past_key_values=cache).logits
            for part in (slice(0, 30), slice(30, 31), slice(31, count))
        ]
    assert apart(torch.cat(parts, dim=1), whole(model, text)) < 1e-4


@pytest.mark.parametrize("window", [TRAINED + 32, 2 * TRAINED])
def test_a_static_cache_that_rolls_its_slots_is_one_forward(window: int) -> None:
    model = remapped("self-extend", "mistral", sliding_window=window)
    wanted = whole(model)
    for chunks in ([50, *[1] * 142], [150, *[1] * 42], [64, 64, 64], [100, 60, 1, 1, 30], [192]):
        assert apart(read(model, TEXT, new_cache(model, "static"), chunks), wanted) < 1e-5


def test_a_static_cache_that_rolls_some_layers_is_one_forward() -> None:
    kinds = {"layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": True, "max_window_layers": 0}
    model = remapped("self-extend", "qwen3", sliding_window=TRAINED + 32, **kinds)
    wanted = whole(model)
    for chunks in ([50, *[1] * 142], [64, 64, 64], [150, *[1] * 42]):
        assert apart(read(model, TEXT, new_cache(model, "static"), chunks), wanted) < 1e-5


def test_a_hole_in_a_row_is_no_token() -> None:
    model, count = remapped(), TEXT.shape[1]
    holes = torch.cat((TEXT[:, :50], torch.zeros(1, 7, dtype=torch.int64), TEXT[:, 50:]), dim=1)
    mask = torch.ones_like(holes)
    mask[:, 50:57] = 0
    positions = mask.cumsum(-1) - 1
    cache = new_cache(model, "dynamic")
    out = []
    with torch.no_grad():
        for first, last in ((0, 57), (57, 58), (58, 120), (120, count + 7)):
            seen = {"attention_mask": mask[:, :last], "position_ids": positions[:, first:last]}
            out.append(model(holes[:, first:last], past_key_values=cache, use_cache=True, **seen).logits)
    kept = torch.cat(out, dim=1)[:, mask[0].bool()]
    assert apart(kept, whole(model)) < 1e-5


def test_packed_texts_are_read_as_each_alone() -> None:
    model, one, other = remapped(), TEXT[:, :100], tokens(92, seed=5)
    positions = torch.cat((torch.arange(100), torch.arange(92)))[None]
    out = whole(model, torch.cat((one, other), dim=1), position_ids=positions)
    assert apart(out[:, :100], whole(model, one)) < 1e-5
    assert apart(out[:, 100:], whole(model, other)) < 1e-5


def test_masks_of_ones_own_are_kept_to() -> None:
    model, count = remapped(), TEXT.shape[1]
    causal = torch.ones(count, count, dtype=torch.bool).tril()[None, None]
    assert apart(whole(model, attention_mask=causal), whole(model)) < 1e-5
    hidden = causal.clone()
    hidden[..., 10:30] = False
    hidden[..., range(10, 30), range(10, 30)] = True
    added = torch.where(hidden, 0.0, torch.finfo(torch.float32).min)
    assert apart(whole(model, attention_mask=hidden), whole(model, attention_mask=added)) < 1e-6
    assert apart(whole(model, attention_mask=hidden), whole(model)) > 1e-2
    with pytest.raises(ValueError, match="adds a bias"):
        whole(model, attention_mask=torch.where(causal, -0.5, torch.finfo(torch.float32).min))


def test_a_mask_that_hides_the_past_is_kept_to_beyond_the_trained_length() -> None:
    model, count = remapped(), TEXT.shape[1]
    seen = torch.ones(count, count, dtype=torch.bool).tril()[None, None].clone()
    seen[..., :50] = False
    seen[..., range(50), range(50)] = True
    changed = TEXT.clone()
    changed[:, :50] = tokens(50, seed=9)
    one, other = (whole(model, text, attention_mask=seen)[:, 50:] for text in (TEXT, changed))
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["eager", "sdpa", pytest.param("flex_attention", marks=pytest.mark.slow)])
def test_the_implementation_can_be_chosen_before_and_after_the_patch(name: str) -> None:
    before, after, plain = tiny_model(), remapped(), tiny_model()
    for model in (before, after, plain):
        model.set_attn_implementation(name)
    patch_model(before, "self-extend", factor=4)
    assert before.config._attn_implementation == after.config._attn_implementation == name
    wanted = whole(remapped())
    for model in (before, after):
        assert apart(whole(model), wanted) < 1e-5
        assert torch.equal(whole(model, TEXT[:, :TRAINED]), whole(plain, TEXT[:, :TRAINED]))
        assert apart(read(model, TEXT, new_cache(model, "dynamic"), [60, *[1] * 8]), wanted[:, :68]) < 1e-5


def test_half_precision_is_as_near_as_its_rounding() -> None:
    model = tiny_model().bfloat16()
    with pytest.warns(UserWarning, match="rounded by a cast"):
        patch_model(model, "self-extend", factor=4)
    assert apart(whole(model).float(), whole(remapped())) < 0.1


def test_a_static_cache_filled_before_the_patch_is_refused() -> None:
    plain = tiny_model()
    cache = new_cache(plain, "static")
    read(plain, TEXT, cache, [20])
    with pytest.raises(ValueError, match="start with an empty one"):
        remapped()(TEXT[:, 20:21], past_key_values=cache)


def test_a_cache_filled_before_the_patch_is_refused() -> None:
    cache = tiny_model()(TEXT[:, :20]).past_key_values
    with pytest.raises(ValueError, match="past_key_values was filled before"):
        remapped()(TEXT[:, 20:21], past_key_values=cache)


def test_layers_called_without_their_model_are_an_error_where_it_matters() -> None:
    model = remapped()
    layer = model.get_submodule("model.layers.0")
    for count in (TRAINED, TRAINED + 1):
        turned = model.get_submodule("model.rotary_emb")(torch.zeros(1, 1, 1), torch.arange(count)[None])
        if count == TRAINED:
            layer(torch.zeros(1, count, 64), position_embeddings=turned)
            continue
        with pytest.raises(ValueError, match="outside of its model's forward"):
            layer(torch.zeros(1, count, 64), position_embeddings=turned)


def test_an_error_inside_leaves_no_call_behind() -> None:
    model = remapped()
    with pytest.raises(IndexError):
        model(torch.full((1, 4), 10_000))
    assert apart(whole(model), whole(remapped())) == 0
