"""Jinja over the package's own templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

_FOLDER = "templates"


def render(name: str, values: Mapping[str, Any], filters: Mapping[str, Callable[[str], str]] | None = None) -> str:
    """Return a template filled in; HTML escapes every value, Markdown those that go through one of its filters."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", _FOLDER),
        autoescape=name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name).render(**values)


def asset(name: str) -> str:
    """Return a file that goes into a page as it is."""
    return resources.files(__package__ or "").joinpath(_FOLDER).joinpath(name).read_text(encoding="utf-8")
