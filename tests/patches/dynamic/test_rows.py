"""Each row of a batch has the scale of its own length, whatever stands beside it and whatever came before."""

from __future__ import annotations

import threading

import pytest
import torch

from rope_scaling import DynamicScaling, YaRN, patch_model
from tests.models import ARCHITECTURES, TRAINED, tiny_config, tiny_model, tokens
from tests.patches.dynamic.models import FACTOR, LONGEST, TEXT, apart, dynamic, native, new_cache, read, whole

SHORT, LONG = tokens(TRAINED), tokens(2 * TRAINED, seed=2)


@pytest.mark.parametrize("scheme", ["dynamic-linear", "dynamic-ntk", "dynamic-yarn", "dynamic-llama3"])
def test_within_the_trained_length_a_model_is_the_unpatched_one_bit_for_bit(scheme: str) -> None:
    model, plain = dynamic(scheme), tiny_model()
    assert torch.equal(whole(model, SHORT), whole(plain, SHORT))
    two = torch.cat((SHORT, tokens(TRAINED, seed=3)))
    assert torch.equal(whole(model, two), whole(plain, two))
    assert torch.equal(
        read(model, SHORT, new_cache(model, "dynamic"), [40, 1, 23]),
        read(plain, SHORT, new_cache(plain, "dynamic"), [40, 1, 23]),
    )


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_so_is_every_architecture(model_type: str) -> None:
    plain = tiny_model(model_type)
    assert torch.equal(whole(dynamic(model_type=model_type), SHORT), whole(plain, SHORT))


@pytest.mark.parametrize(("rope_type", "scheme"), [("yarn", "dynamic-yarn"), ("linear", "dynamic-linear")])
@pytest.mark.parametrize("times", [2, 3, 4])
def test_a_longer_text_is_read_as_by_a_model_made_for_its_length(rope_type: str, scheme: str, times: int) -> None:
    text = TEXT[:, : times * TRAINED]
    scale = next(n for n in (2.0, 2 ** (51 / 32), 4.0) if n * TRAINED >= times * TRAINED)  # 3 is no row of the grid
    meant = whole(native(-(-scale * TRAINED // 1) / TRAINED, rope_type), text)
    assert apart(whole(dynamic(scheme), text), meant) < 1e-5


def test_a_text_longer_than_the_cap_has_the_scale_of_the_cap() -> None:
    text = tokens(6 * TRAINED)
    assert apart(whole(dynamic(), text), whole(native(FACTOR), text)) < 1e-5


def test_a_prompt_beside_a_longer_one_is_read_as_alone() -> None:
    model = dynamic()
    width = LONG.shape[1]
    padded = torch.cat((torch.zeros(1, width - TRAINED, dtype=torch.int64), SHORT), dim=1)
    mask = torch.ones(2, width, dtype=torch.int64)
    mask[0, : width - TRAINED] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    both = whole(model, torch.cat((padded, LONG)), attention_mask=mask, position_ids=positions)
    assert apart(both[:1, -TRAINED:], whole(tiny_model(), SHORT)) < 1e-5
    assert apart(both[1:], whole(model, LONG)) < 1e-5


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_counts_for_nothing_without_position_ids_too(side: str) -> None:
    model = dynamic()
    width, blank = LONG.shape[1], torch.zeros(1, LONG.shape[1] - TRAINED, dtype=torch.int64)
    padded = torch.cat((blank, SHORT) if side == "left" else (SHORT, blank), dim=1)
    mask = torch.ones(2, width, dtype=torch.int64)
    part = slice(width - TRAINED, width) if side == "left" else slice(0, TRAINED)
    mask[0] = 0
    mask[0, part] = 1
    both = whole(model, torch.cat((padded, LONG)), attention_mask=mask)
    assert apart(both[:1, part], whole(tiny_model(), SHORT)) < 1e-5
    assert apart(both[1:], whole(model, LONG)) < 1e-5


def test_rows_do_not_depend_on_their_order_or_number() -> None:
    model = dynamic()
    rows = torch.cat([tokens(100, seed=seed) for seed in range(4)])
    together = whole(model, rows)
    assert apart(whole(model, rows.flip(0)).flip(0), together) < 1e-6
    assert apart(torch.cat([whole(model, row[None]) for row in rows]), together) < 1e-5


def test_nothing_is_left_of_an_earlier_call() -> None:
    model = dynamic()
    first = whole(model, SHORT)
    whole(model, TEXT)
    with pytest.raises(ValueError, match="rope_length"):
        whole(model, SHORT, rope_length=0)
    read(model, TEXT, new_cache(model, "dynamic"), [60, 60])
    assert torch.equal(whole(model, SHORT), first)


def test_two_threads_can_use_one_model() -> None:
    model = dynamic()
    texts = [SHORT, LONG, TEXT, tokens(90, seed=5)]
    alone = [whole(model, text) for text in texts]
    wrong: list[int] = []

    def work(n: int) -> None:
        for _ in range(20):
            if not torch.equal(whole(model, texts[n]), alone[n]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_positions_that_begin_elsewhere_are_as_long_as_they_are() -> None:
    model = dynamic()
    shifted = whole(model, SHORT, position_ids=torch.arange(TRAINED)[None] + 5000)
    plain = whole(tiny_model(), SHORT, position_ids=torch.arange(TRAINED)[None] + 5000)
    assert torch.equal(shifted, plain)


def test_positions_with_a_jump_reach_as_far_as_they_reach() -> None:
    positions = torch.cat((torch.arange(10), torch.arange(LONGEST - 10, LONGEST)))[None]
    mask = torch.ones_like(positions)
    meant = whole(native(FACTOR), TEXT[:, :20], position_ids=positions, attention_mask=mask)
    assert apart(whole(dynamic(), TEXT[:, :20], position_ids=positions, attention_mask=mask), meant) < 1e-5


def test_a_scheme_without_a_factor_has_no_largest_scale() -> None:
    model = patch_model(tiny_model(), DynamicScaling(YaRN()))
    text = tokens(16 * TRAINED)
    assert apart(whole(model, text), whole(native(16.0), text)) < 1e-5


def test_dynamic_true_is_the_scheme_by_its_dynamic_name() -> None:
    by_flag = patch_model(tiny_model(), "yarn", max_length=LONGEST, dynamic=True)
    assert torch.equal(whole(by_flag, LONG), whole(dynamic(), LONG))


def test_training_reads_each_row_at_its_own_scale() -> None:
    model = dynamic().train()
    loss = model(LONG, labels=LONG).loss
    loss.backward()
    twin = native(2.0).train()
    twin(LONG, labels=LONG).loss.backward()
    own, meant = (one.get_parameter("model.layers.0.self_attn.q_proj.weight").grad for one in (model, twin))
    assert own is not None
    assert meant is not None
    assert apart(own, meant) < 1e-5


def test_a_gradient_checkpointed_model_is_the_same() -> None:
    model = dynamic().train()
    model.gradient_checkpointing_enable()
    model(LONG, labels=LONG, use_cache=False).loss.backward()
    plain = dynamic().train()
    plain(LONG, labels=LONG, use_cache=False).loss.backward()
    own, meant = (one.get_parameter("model.layers.0.self_attn.q_proj.weight").grad for one in (model, plain))
    assert own is not None
    assert meant is not None
    assert apart(own, meant) < 1e-7


def test_several_layer_types_are_scaled_as_a_static_patch_scales_them() -> None:
    config = tiny_config("gemma3_text", layer_types=["sliding_attention", "full_attention"], sliding_window=16)
    model = patch_model(tiny_model(config), "dynamic-yarn", factor=FACTOR)
    static = patch_model(tiny_model(type(config).from_dict(config.to_dict())), "yarn", factor=2.0)
    assert apart(whole(model, LONG), whole(static, LONG)) < 1e-5
