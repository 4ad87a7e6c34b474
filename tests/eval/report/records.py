"""Records as `rope-scaling eval` writes them, with scores that are made up."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

L, BLOCK = 512, 64
EDGES = (256, 512, 1024, 2048)
NASTY = "<script>alert(1)</script>\"'&|`{{ 7*7 }}</code><img src=x onerror=alert(2)>"


def base(texts: int = 4, seed: int = 0) -> list[list[float]]:
    """What the text is like: blocks differ far more from each other than schemes do."""
    rng = random.Random(seed)
    return [[rng.gauss(4.0, 0.4) for _ in range(EDGES[-1] // BLOCK)] for _ in range(texts)]


def shifted(
    blocks: list[list[float]], within: float, past: float, noise: float = 0.01, seed: int = 1
) -> list[list[float]]:
    """The same text, read worse by so many nats on either side of L."""
    rng = random.Random(seed)
    return [
        [value + (within if at < L // BLOCK else past) + rng.gauss(0, noise) for at, value in enumerate(text)]
        for text in blocks
    ]


def row(scheme: str, blocks: list[list[float]], max_length: int | None, plain: list[list[float]]) -> dict[str, Any]:
    def mean(values: list[list[float]], start: int, stop: int) -> float:
        each = [value for text in values for value in text[start // BLOCK : stop // BLOCK]]
        return math.fsum(each) / len(each)

    places = zip((0, *EDGES), EDGES, strict=False)
    return {
        "scheme": scheme,
        "max_length": max_length,
        "seconds": 1.0,
        "bins": [
            {"range": "?", "start": a, "stop": b, "tokens": b - a, "perplexity": math.exp(mean(blocks, a, b))}
            for a, b in places
        ],
        "block_nll": blocks,
        "short_context_tax": None if scheme == "window" else math.expm1(mean(blocks, 0, L) - mean(plain, 0, L)),
        "versus_window": None,
    }


def keys(found: dict[int, int], samples: int = 10) -> dict[str, Any]:
    """As many of the questions right at each of two depths."""
    cells = [
        {"length": length, "depth": depth, "accuracy": right / samples, "samples": samples}
        for length, right in found.items()
        for depth in (0.0, 1.0)
    ]
    return {"seed": 0, "rope": {}, "truncated_requests": {}, "accuracy": [], "cells": cells}


def record(**changes: Any) -> dict[str, Any]:
    """`none` breaks past L, `good` beats the window at a price, `bad` is worse, `same` is the window itself."""
    plain = base()
    rows = [
        row("none", shifted(plain, 0, 1.5, noise=0), None, plain),
        row("good:factor=4", shifted(plain, 0.03, -0.05), 2048, plain),
        row("bad:factor=4", shifted(plain, 0.0, 0.05), 2048, plain),
        row("same:factor=2", plain, 1024, plain),
        row("window", plain, None, plain),
    ]
    whole = {
        "kind": "rope-scaling eval",
        "format": 2,
        "command": ["/home/me/bin/rope-scaling", "eval", "/home/me/tiny llama", "--lengths", "256,512,1k,2k"],
        "versions": {"rope-scaling": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "python": "3.11.7"},
        "checkpoint": {
            "name": "/home/me/tiny llama",
            "model_type": "llama",
            "dtype": "float32",
            "device": "cpu",
            "original_max_position_embeddings": L,
        },
        "settings": {},
        "text": {"name": "book.txt", "sha256": "0" * 64, "texts": 4, "tokens": 2048},
        "lengths": list(EDGES),
        "window": {"stride": 64, "keeps_bos": False},
        "block": BLOCK,
        "rule": "",
        "rows": rows,
        "passkey": {
            "none": keys({512: 10, 1024: 1}),
            "good:factor=4": keys({512: 10, 1024: 10}),
        },
        "peak_rss_bytes": 1,
    }
    return whole | changes


def answers(right: dict[int, int], samples: int = 20, depths: bool = True) -> dict[str, Any]:
    """As many of the questions of each length right, the first ones; half of them lie at each of two depths."""
    told = []
    for length, good in right.items():
        for number in range(samples):
            depth = (0.0, 1.0)[number % 2] if depths else None
            score = float(number < good)
            told.append(
                {
                    "key": f"{length}-{number}",
                    "length": length,
                    "depth": depth,
                    "prompt_end": f"... The number is {number}.\n\nWhat is the number of {length}?",
                    "expected": [str(7000 + number)],
                    "got": f"It is {7000 + number if score else 9}.",
                    "score": score,
                }
            )
    return {"cells": cells(told), "answers": told, "truncated_requests": {}, "seconds": 1.0}


def cells(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means by length and depth."""
    places: dict[Any, list[float]] = {}
    for one in told:
        places.setdefault((one["length"], one["depth"]), []).append(one["score"])
    return [
        {"length": length, "depth": depth, "samples": len(scores), "score": math.fsum(scores) / len(scores)}
        for (length, depth), scores in places.items()
    ]


def task(schemes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    whole = {"metric": "acc", "higher_is_better": True, "threshold": "needle", "chance": None, "schemes": schemes}
    return whole | changes


def tasked(**changes: Any) -> dict[str, Any]:
    """A record of format 3: `none` loses needles past L, `good` keeps them; one task by choice, one in nats."""
    needles = {
        "none": answers({512: 20, 1024: 3}),
        "good:factor=4": answers({512: 19, 1024: 20}),
    }
    choices = {
        "none": answers({512: 15, 1024: 5}, depths=False),
        "good:factor=4": answers({512: 14, 1024: 7}, depths=False),
    }
    tasks = {
        "rope_niah_single": task(needles),
        "rope_vt_mc": task(choices, threshold="ruler", chance=0.25),
        "rope_ppl": task({"none": nats(3.0), "good:factor=4": nats(2.9)}, **NATS),
    }
    return record(format=3, tasks=tasks) | changes


NATS = {"metric": "nll", "higher_is_better": False, "threshold": None}


def nats(level: float, texts: int = 3) -> dict[str, Any]:
    """A text read at so many nats a token, with the ups and downs that every scheme meets."""
    told = []
    for number in range(texts):
        rng = random.Random(number)
        blocks = [round(level + rng.gauss(0, 0.3) + random.Random(level).gauss(0, 0.01), 6) for _ in range(16)]
        one = {"key": f"text-{number}", "length": 1024, "depth": None, "prompt_end": f"Text {number}.", "expected": []}
        told.append(one | {"got": "", "score": math.fsum(blocks) / 16, "block_nll": blocks})
    return {"cells": cells(told), "answers": told, "truncated_requests": {}, "seconds": 1.0}


def written(folder: Path, value: Any, name: str = "run.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def nasty() -> dict[str, Any]:
    """Text that no browser and no Markdown reader may take for its own, wherever a person or a model may put some."""
    value: dict[str, Any] = json.loads(json.dumps(record()))
    value["rows"][1]["scheme"] = NASTY
    value["passkey"][NASTY] = value["passkey"].pop("good:factor=4")
    nest = {key: {**one, "schemes": _renamed(one["schemes"])} for key, one in tasked()["tasks"].items()}
    value |= {"format": 3, "tasks": {NASTY if key == "rope_niah_single" else key: one for key, one in nest.items()}}
    value["checkpoint"]["name"] = f"org/{NASTY}"
    value["checkpoint"]["dtype"] = value["checkpoint"]["device"] = value["checkpoint"]["model_type"] = NASTY
    value["text"]["name"] = value["text"]["sha256"] = NASTY
    value["versions"] = {NASTY: NASTY}
    value["command"] = ["rope-scaling", NASTY, "```\n# heading\n```"]
    return value


def _renamed(schemes: dict[str, Any]) -> dict[str, Any]:
    """What a model read and wrote is as foreign as a scheme's name; the line separators end a line of JavaScript."""
    for one in schemes.values():
        for answer in one["answers"]:
            answer["prompt_end"] = f"{NASTY}<!--\u2028\u2029]]>" + answer["prompt_end"] + NASTY * 3
            answer["got"] = f"{NASTY}\ud800</table><!--"
            answer["expected"] = [f"</script>{NASTY}"]
    return {NASTY if name == "good:factor=4" else name: one for name, one in schemes.items()}
