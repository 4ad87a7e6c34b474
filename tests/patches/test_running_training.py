"""Training patched models: gradients and steps are those of the native twin."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from rope_scaling import patch_model, unpatch_model
from tests.models import ARCHITECTURES, logits, tiny_model
from tests.patches.state import rotary
from tests.patches.twins import FACTOR, IDS, patched_yarn, twin_of_patched

Step = tuple[float, dict[str, torch.Tensor], torch.Tensor]


def step(model: PreTrainedModel, checkpointing: bool | None = None, autocast: bool = False) -> Step:
    """One step: loss, gradients by name, logits afterwards; `checkpointing` says whether reentrant, None is off."""
    model.train()
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
        model.enable_input_require_grads()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(IDS, labels=IDS, use_cache=False).loss
    loss.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    optimizer.step()
    return loss.item(), gradients, logits(model.eval(), IDS)


def assert_same_step(ours: Step, theirs: Step) -> None:
    assert ours[0] == theirs[0]
    assert ours[1].keys() == theirs[1].keys() != set()
    assert all(torch.equal(gradient, theirs[1][name]) for name, gradient in ours[1].items())
    assert torch.equal(ours[2], theirs[2])


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("checkpointing", [None, False, True], ids=["plain", "checkpointed", "reentrant"])
@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt_neox"])
def test_a_training_step_is_that_of_the_native_twin(
    model_type: str, checkpointing: bool | None, autocast: bool
) -> None:
    ours = step(patched_yarn(model_type), checkpointing, autocast)
    assert_same_step(ours, step(twin_of_patched(model_type), checkpointing, autocast))
    assert ours[0] != step(tiny_model(model_type), checkpointing, autocast)[0], "the patch does nothing"


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_checkpointing_changes_no_gradient(model_type: str) -> None:
    one = step(patch_model(tiny_model(model_type), "yarn", factor=FACTOR))
    other = step(patch_model(tiny_model(model_type), "yarn", factor=FACTOR), checkpointing=False)
    assert_same_step(one, other)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt_neox"])
def test_autocast_gives_the_logits_of_the_native_twin_and_exact_angles(model_type: str, dtype: torch.dtype) -> None:
    model, twin = patched_yarn(model_type), twin_of_patched(model_type)
    far = torch.tensor([[30000]])
    meant = rotary(model)(torch.zeros(1), far)
    with torch.autocast("cpu", dtype):
        assert torch.equal(logits(model, IDS), logits(twin, IDS))
        within = rotary(model)(torch.zeros(1), far)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(within, meant, strict=True))


def test_frequencies_are_no_parameters_and_take_no_gradient() -> None:
    model, plain = patched_yarn(), tiny_model()
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    model(IDS, labels=IDS).loss.backward()
    assert all(buffer.grad is None and not buffer.requires_grad for buffer in rotary(model).buffers())


def test_what_was_learned_while_patched_stays_when_it_is_undone() -> None:
    model, plain = patched_yarn(), tiny_model()
    step(model)
    unpatch_model(model)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(logits(model, IDS), logits(plain, IDS))
    assert not torch.equal(logits(model, IDS), logits(tiny_model(), IDS)), "nothing was learned"
