"""Everything the doctor says as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rope_scaling.doctor.examine import worst
from rope_scaling.doctor.facts import Facts
from rope_scaling.doctor.finding import Finding
from rope_scaling.doctor.summary import advice, forecasts, layer_rows, readable_ropes
from rope_scaling.rope import Rope


def as_json(facts: Facts, findings: Sequence[Finding]) -> str:
    """The report, with every number that the page rounds."""
    ropes = readable_ropes(facts)
    report: dict[str, Any] = {
        "checkpoint": facts.source,
        "model_type": facts.model_type,
        "max_position_embeddings": facts.max_length,
        "ropes": [{"layer_type": kind, **_rope(rope)} for kind, rope in ropes.items()],
        "layers": layer_rows(facts),
        "forecasts": [
            {"layer_type": kind, "max_length": facts.wished, **asdict(one)}
            for kind, rope in ropes.items()
            for one in forecasts(facts, rope)
        ],
        "advice": advice(facts),
        "findings": [finding.as_dict() for finding in findings],
        "exit_code": worst(list(findings)),
    }
    return json.dumps(_finite(report), indent=2, ensure_ascii=False, allow_nan=False)


def _rope(rope: Rope) -> dict[str, Any]:
    told = asdict(rope)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}


def _finite(value: Any) -> Any:
    """The same with numbers that JSON does not have as text."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value
