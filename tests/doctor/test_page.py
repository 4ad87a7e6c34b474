"""docs/doctor.md is what the rules say."""

from __future__ import annotations

from rope_scaling.doctor import RULES
from tests.doctor.page import PAGE, text


def test_the_page_is_written_from_the_rules() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(), "run python -m tests.doctor.page"


def test_it_tells_of_every_rule() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"### {rule.code}\n" in page and rule.why in page for rule in RULES)
