"""Every rule sees its fault, and does not see it in a checkpoint that is as like as can be and sound."""

from __future__ import annotations

import json
import re

import pytest

from rope_scaling.doctor import RULES, Finding, examine, worst
from rope_scaling.doctor.report import as_json
from tests.doctor.cases import CASES, LLAMA, of

RULE_OF = {rule.code: rule for rule in RULES}
CASE_FINDINGS = {code: RULE_OF[code].findings(CASES[code][0]()) for code in ("no-rope", "double-scaling")}


def test_every_rule_has_a_code_of_its_own_and_a_case() -> None:
    assert len(RULE_OF) == len(RULES)
    assert set(CASES) == set(RULE_OF)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in RULE_OF)


@pytest.mark.parametrize("code", CASES)
def test_a_rule_sees_its_fault(code: str) -> None:
    found = RULE_OF[code].findings(CASES[code][0]())
    assert found
    assert all(one.code == code for one in found)
    assert found[0].severity is RULE_OF[code].severity
    assert all(one.symptom.seen and one.symptom.consequence and one.symptom.mend for one in found)


@pytest.mark.parametrize("code", CASES)
def test_a_rule_is_silent_about_a_sound_checkpoint(code: str) -> None:
    assert RULE_OF[code].findings(CASES[code][1]()) == []


@pytest.mark.parametrize("code", CASES)
def test_a_fault_reaches_the_list_of_findings_and_json(code: str) -> None:
    facts = CASES[code][0]()
    found = examine(facts)
    assert code in {one.code for one in found}
    report = json.loads(as_json(facts, found))
    assert [one["code"] for one in report["findings"]] == [one.code for one in found]
    assert report["exit_code"] == worst(found) >= RULE_OF[code].severity.exit_code


def test_nothing_is_found_in_a_sound_checkpoint() -> None:
    assert examine(of(LLAMA)) == []
    assert worst([]) == 0


def test_the_worst_stands_first_and_gives_the_exit_code() -> None:
    assert worst(CASE_FINDINGS["no-rope"]) == 0
    assert worst(CASE_FINDINGS["no-rope"] + CASE_FINDINGS["double-scaling"]) == 1
    mixed: list[Finding] = examine(of(LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 0.5}}))
    codes = [one.severity.exit_code for one in mixed]
    assert codes == sorted(codes, reverse=True)
    assert worst(mixed) == 2
