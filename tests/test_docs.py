"""The snippets in the documentation run, and the files that it names are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
RUN = ["docs/rope.md", "docs/schemes.md"]
PAGES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("docs/*.md"), ROOT / "README.md"])


@pytest.mark.parametrize("page", RUN)
def test_the_snippets_of_a_page_run_in_order(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert snippets
    namespace: dict[str, Any] = {}
    for snippet in snippets:
        exec(compile(snippet, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"
