"""What the `rope_niah_*` YAML files name: one task for each shape of needles."""

from __future__ import annotations

import functools

import rope_scaling.eval.lm  # noqa: F401  makes plain `lm_eval --tasks FILE.yaml` know rope-hf
from rope_scaling.eval.tasks.common.generated import Generated
from rope_scaling.eval.tasks.niah.prompt import Shape, niah

SHORT = 16  # tokens: five digits, or two words
LONG = 64  # tokens: a UUID where every character is a token, or four numbers


def _task(name: str, shape: Shape, haystack: str, needle: str, room: int) -> Generated:
    return Generated(
        f"rope_niah_{name}",
        room,
        functools.partial(niah, shape=shape),
        {"haystack": haystack, "needle": needle, "text": None},
        depths=shape.values * shape.queries == 1,
    )


single = _task("single", Shape(), "noise", "number", SHORT)
single_text = _task("single_text", Shape(), "text", "number", SHORT)
single_word = _task("single_word", Shape(), "text", "word", SHORT)
single_uuid = _task("single_uuid", Shape(), "text", "uuid", LONG)
multikey = _task("multikey", Shape(keys=4), "text", "number", SHORT)
multikey_needles = _task("multikey_needles", Shape(), "needles", "number", SHORT)
multikey_uuid = _task("multikey_uuid", Shape(key="uuid"), "needles", "uuid", LONG)
multivalue = _task("multivalue", Shape(values=4), "text", "number", LONG)
multiquery = _task("multiquery", Shape(keys=4, queries=4), "text", "number", LONG)
