from __future__ import annotations

import pytest

from rope_scaling.eval.tasks.code.task import same_line
from rope_scaling.eval.tasks.common.score import chosen, generated


@pytest.mark.parametrize(
    ("answers", "text", "share"),
    [
        (["12345"], " 12345.", 1.0),
        (["12345"], " 123456", 0.0),
        (["12345"], "x12345", 0.0),
        (["sable-fox"], "It is Sable-Fox!", 1.0),
        (["sable-fox"], "sable-foxes or a-sable-fox", 0.0),
        (["11111", "22222", "33333", "44444"], "44444 and 22222, 11111", 0.75),
        (["a+b"], "(a+b)", 1.0),
        (["12345"], "", 0.0),
    ],
)
def test_a_generated_text_is_worth_the_share_of_answers_that_stand_in_it(
    answers: list[str], text: str, share: float
) -> None:
    assert generated({"answers": answers, "length": 512}, [text]) == {"acc": share, "512": share}


@pytest.mark.parametrize(
    ("scores", "found"), [([-3.0, -1.0, -2.0, -9.0], 1.0), ([-1.0, -3.0, -2.0, -9.0], 0.0), ([-1.0] * 4, 0.0)]
)
def test_a_choice_is_right_where_it_is_the_likeliest_alone(scores: list[float], found: float) -> None:
    results = [(score, False) for score in scores]
    assert chosen({"gold": 1, "length": 512}, results) == {"acc": found, "512": found}


@pytest.mark.parametrize(
    ("written", "found"), [("\n    return x\n    y", 1.0), ("return x", 1.0), ("\n    return xy", 0.0), ("", 0.0)]
)
def test_a_line_of_code_counts_whatever_its_indentation(written: str, found: float) -> None:
    assert same_line({"answer": "    return x", "length": 512}, [written])["acc"] == found
