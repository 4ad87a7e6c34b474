"""Dynamic scaling of models whose weights accelerate fetches as they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rope_scaling import describe, patch_model, unpatch_model
from tests.models import tiny_model
from tests.patches.dynamic.models import FACTOR, TEXT, apart, dynamic, new_cache, read, whole
from tests.patches.state import assert_same, everything
from tests.patches.test_loading_offloaded import OFFLOADS


@pytest.mark.parametrize("offload", OFFLOADS)
def test_an_offloaded_model_scales_plans_and_grows(offload: str, tmp_path: Path) -> None:
    model, twin = OFFLOADS[offload](tiny_model(), tmp_path), dynamic()
    before = everything(model)
    patch_model(model, "dynamic-yarn", factor=FACTOR)
    assert any(weight.is_meta for weight in model.parameters()), "nothing was offloaded"
    assert torch.equal(whole(model, TEXT), whole(twin, TEXT))
    settings = {"max_new_tokens": 40, "do_sample": False, "eos_token_id": -1}
    assert torch.equal(model.generate(TEXT[:, :50], **settings), twin.generate(TEXT[:, :50], **settings))
    assert describe(model).cannot_grow is None
    steps = [60, *[1] * 30]
    own, theirs = (read(one, TEXT, new_cache(one, "dynamic"), steps) for one in (model, twin))
    assert apart(own, theirs) < 1e-6
    assert_same(everything(unpatch_model(model)), before)
