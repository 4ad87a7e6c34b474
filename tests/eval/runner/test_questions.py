from __future__ import annotations

from typing import Any

from lm_eval.api.instance import Instance

from rope_scaling.eval.runner.questions import questions, units
from rope_scaling.eval.store.keys import question_key


def request(document: dict[str, Any], number: int, choice: int = 0, task: str = "rope_vt") -> Any:
    arguments = (f"prompt {number}", f" choice {choice}")
    return Instance("loglikelihood", document, arguments, choice, (task, number, 1))


def asked(documents: list[dict[str, Any]], task: str = "rope_vt") -> list[Any]:
    return questions("loglikelihood", [request(one, number, task=task) for number, one in enumerate(documents)])


def numbers(found: Any) -> list[list[int]]:
    return [[one.document["number"] for one in unit] for unit in found]


def test_the_choices_of_a_document_are_one_question() -> None:
    documents = [{"length": 8}, {"length": 8}]
    requests = [request(one, number, choice) for number, one in enumerate(documents) for choice in range(4)]
    first, second = questions("loglikelihood", requests)
    assert (first.requests, second.requests) == (tuple(requests[:4]), tuple(requests[4:]))
    assert first.key == question_key("loglikelihood", [("prompt 0", f" choice {choice}") for choice in range(4)])


def test_a_request_that_comes_again_to_pad_a_process_asks_nothing() -> None:
    requests = [request({"length": 8}, 0, choice) for choice in range(4)]
    (one,) = questions("loglikelihood", [*requests, requests[3], requests[3]])
    assert one.requests == tuple(requests)


def test_the_depths_of_one_length_are_answered_together() -> None:
    documents = [
        {"length": length, "depth": depth, "number": number}
        for number, (depth, length) in enumerate([(0, 8), (0, 9), (1, 8), (1, 9)] * 2)
    ]
    assert numbers(units(asked(documents), 1)) == [[0, 2], [4, 6], [1, 3], [5, 7]]


def test_a_question_without_a_depth_is_answered_alone_or_in_a_batch() -> None:
    documents = [{"max_length": 16, "length": 11 + number, "number": number} for number in range(5)]  # as RULER's are
    assert numbers(units(asked(documents, "ruler_vt"), 1)) == [[0], [1], [2], [3], [4]]
    assert numbers(units(asked(documents, "ruler_vt"), 2)) == [[0, 1], [2, 3], [4]]


def test_the_ranges_of_one_text_are_answered_together() -> None:
    ranges = [(0, 8), (1, 8), (0, 16), (1, 16)]
    documents = [
        {"length": length, "index": text, "prompt_tokens": length // 2, "scored_tokens": 3, "number": number}
        for number, (text, length) in enumerate(ranges)
    ]
    found = asked(documents, "rope_ppl")
    assert numbers(units(found, 1)) == [[0, 2], [1, 3]]
    assert [one.tokens for one in found] == [7, 7, 11, 11]


def test_tasks_are_not_mixed() -> None:
    requests = [request({"length": 8, "number": 0}, 0, task=task) for task in ("rope_vt", "rope_cwe")]
    assert len(list(units(questions("loglikelihood", requests), 8))) == 2
