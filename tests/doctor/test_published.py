"""No false alarm: the published configs of well-known checkpoints have notes at most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rope_scaling.doctor import Severity, examine, facts_of_config
from rope_scaling.doctor.ropes import declared_ropes
from rope_scaling.rope import Rope

PUBLISHED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))
NOTES = {
    "deepseek-ai/DeepSeek-V2-Lite": ["remote-code"],
    "deepseek-ai/DeepSeek-V3": ["remote-code"],
    "google/gemma-3-4b-it": ["length-ambiguous"],
    "microsoft/Phi-3-mini-4k-instruct": ["sliding-window"],
    "microsoft/Phi-3.5-mini-instruct": ["cache-crosses-switch"],
    "mistralai/Mistral-7B-v0.1": ["sliding-window"],
    "openai/gpt-oss-120b": ["yarn-options"],
    "openai/gpt-oss-20b": ["yarn-options"],
}


def test_there_are_enough_of_them_each_with_its_source() -> None:
    assert len({one["name"] for one in PUBLISHED}) == len(PUBLISHED) >= 45
    assert all(one["source"] for one in PUBLISHED)


@pytest.mark.parametrize("one", PUBLISHED, ids=[one["name"] for one in PUBLISHED])
def test_a_published_config_has_notes_at_most(one: dict[str, Any]) -> None:
    facts = facts_of_config(one["config"], one["name"])
    found = examine(facts)
    assert [finding for finding in found if finding.severity is not Severity.NOTE] == []
    assert [finding.code for finding in found] == NOTES.get(one["name"], [])
    assert all(isinstance(rope, Rope) for rope in declared_ropes(facts).values())


@pytest.mark.parametrize("one", PUBLISHED, ids=[one["name"] for one in PUBLISHED])
def test_a_published_scaling_that_is_broken_does_not_pass(one: dict[str, Any]) -> None:
    config = json.loads(json.dumps(one["config"]))
    inner = config.get("text_config", config)
    inner["rope_scaling"] = (inner.get("rope_scaling") or {"rope_type": "linear"}) | {"factor": -1.0}
    inner["rope_scaling"].pop("type", None)
    assert "bad-number" in {finding.code for finding in examine(facts_of_config(config))}
