from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from rope_scaling.eval.compare import Plan
from rope_scaling.eval.lm import RopeHFLM
from rope_scaling.eval.runner.asking import ask
from rope_scaling.eval.runner.entries import Entry
from rope_scaling.eval.runner.grid import Grid
from rope_scaling.eval.runner.keeping import Keeping
from rope_scaling.eval.runner.meter import Meter
from rope_scaling.eval.runner.sources import sources
from rope_scaling.eval.runner.stored import StoredLM
from rope_scaling.eval.runner.tasks import expected_tokens, harness_model, run_tasks
from rope_scaling.eval.store.answers import Answers
from rope_scaling.eval.store.keys import checkpoint_key, tokenizer_key
from rope_scaling.eval.tasks.configs import rope_tasks
from rope_scaling.eval.tasks.ruler.task import ruler_tasks
from tests.eval.tiny import tiny_checkpoint

LENGTHS = (512, 640)
SCHEMES = ("none", "ntk:factor=32", "dynamic-yarn:factor=32")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def entries(checkpoint: str, folder: Path | None, *names: str, schemes: Any = SCHEMES, **grid: Any) -> dict[str, Entry]:
    """What the record says of each task and scheme, through the store in a folder."""
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
    asked = sources(Grid(names, **{"lengths": LENGTHS, "depths": (0.0, 1.0), "samples": 1, **grid}), tokenizer)
    found: dict[str, Entry] = {}
    with Answers(folder) as answers:
        meter = Meter()
        keeping = Keeping(answers, checkpoint_key(model.eval()), tokenizer_key(tokenizer), meter)
        work = {source: expected_tokens(source, meter) for source in asked}
        meter.expect(len(schemes) * sum(work.values()))
        run_tasks(
            *(model, tokenizer, Plan(schemes), work, keeping),
            lambda source, scheme, entry: found.update({f"{source.name} {scheme}": entry}),
        )
        assert meter.left == pytest.approx(0)
    return found


@pytest.mark.parametrize("scheme", SCHEMES[1:])
def test_scores_are_those_of_lm_eval_alone(checkpoint: str, scheme: str) -> None:
    names = ["rope_passkey_mc", "rope_niah_single", "rope_ppl"]
    found = entries(checkpoint, None, *names, schemes=(scheme,))
    name, _, factor = scheme.partition(":factor=")
    given = {"scheme": name, "factor": float(factor)} if factor else {}
    lm = RopeHFLM(checkpoint, max_length=None if factor else 1024, **given)
    tasks = rope_tasks(lm.tokenizer, names, lengths=list(LENGTHS), depths=[0.0, 1.0], samples=1)
    alone: Any = simple_evaluate(lm, tasks=tasks, task_manager=TaskManager(include_defaults=False), bootstrap_iters=0)
    for task in names:
        entry, scores = found[f"{task} {scheme}"], alone["results"][task]
        assert len(entry["answers"]) == len(alone["samples"][task])
        for length, low in zip(LENGTHS, (0, LENGTHS[0]), strict=True):
            cells = [cell for cell in entry["cells"] if cell["length"] == length]
            mean = sum(cell["score"] * cell["samples"] for cell in cells) / sum(cell["samples"] for cell in cells)
            metric = f"{low}-{length}" if task == "rope_ppl" else str(length)
            # lm-eval's mean over texts, ours over tokens: texts differ by a few tokens
            assert mean == pytest.approx(scores[f"{metric},none"], rel=2e-3 if task == "rope_ppl" else 1e-6)
        for one in alone["samples"][task]:
            (answer,) = [each for each in entry["answers"] if _is_of(each, one)]
            score = one["nll"][0] / one["nll"][1] if task == "rope_ppl" else one["acc"]
            assert answer["score"] == pytest.approx(score, abs=1e-5)
            if isinstance(one["resps"][0][0], str):
                assert answer["got"] == one["resps"][0][0]


def test_rulers_tasks_are_asked_and_scored_as_lm_eval_does(checkpoint: str) -> None:
    lengths = (1300, 1400)
    found = entries(checkpoint, None, "ruler_fwe", schemes=("ntk:factor=64",), lengths=lengths)[
        "ruler_fwe ntk:factor=64"
    ]
    lm = RopeHFLM(checkpoint, "ntk", factor=64)
    (task,) = ruler_tasks(lm.tokenizer, ["ruler_fwe"], lengths, 1)
    alone: Any = simple_evaluate(lm, tasks=[task], task_manager=TaskManager(include_defaults=False), bootstrap_iters=0)
    samples = sorted(alone["samples"]["ruler_fwe"], key=lambda one: one["doc"]["max_length"])
    assert [one["length"] for one in found["answers"]] == [1300, 1400]
    for answer, one in zip(found["answers"], samples, strict=True):
        told = (answer["expected"], answer["got"], answer["score"])
        assert told == (one["doc"]["outputs"], one["resps"][0][0], one["acc"])


def _is_of(answer: dict[str, Any], sample: dict[str, Any]) -> bool:
    document = sample["doc"]
    length = document.get("max_length", document["length"])
    place = (length, document.get("depth"), document["index"])
    same = (answer["length"], answer["depth"], answer["index"]) == place
    return same and sample["arguments"][0][0].endswith(answer["prompt_end"])


def test_the_second_time_nothing_is_computed(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("rope_passkey_mc", "rope_niah_single", "rope_ppl")
    first = entries(checkpoint, tmp_path / "run", *names, schemes=SCHEMES[1:])
    for method in ("loglikelihood", "generate_until"):
        monkeypatch.setattr(RopeHFLM, method, lambda *_, **__: pytest.fail("computed again"))
    assert entries(checkpoint, tmp_path / "run", *names, schemes=SCHEMES[1:]) == first
    some = entries(checkpoint, tmp_path / "run", "rope_niah_single", schemes=SCHEMES[1:2], depths=(1.0,))
    answers = first[f"rope_niah_single {SCHEMES[1]}"]["answers"]
    assert some[f"rope_niah_single {SCHEMES[1]}"]["answers"] == [one for one in answers if one["depth"] == 1.0]


def test_every_scheme_is_asked_the_same_and_answers_for_itself(checkpoint: str) -> None:
    found = entries(checkpoint, None, "rope_passkey_mc", "rope_ppl")
    for task in ("rope_passkey_mc", "rope_ppl"):
        keys = [[one["key"] for one in found[f"{task} {scheme}"]["answers"]] for scheme in SCHEMES]
        assert keys[0] == keys[1] == keys[2]
        assert len(set(keys[0])) == len(keys[0])
    nats = [found[f"rope_ppl {scheme}"]["cells"][1]["score"] for scheme in SCHEMES]
    assert len(set(nats)) == 3


def test_choices_that_are_no_numbers_are_refused_and_not_kept(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(lm: RopeHFLM, requests: Any, disable_tqdm: bool = False) -> Any:
        return [(math.nan, False) for _ in requests]

    monkeypatch.setattr(RopeHFLM, "loglikelihood", broken)
    with pytest.raises(ValueError, match=r"the model's output is not finite .*: try a wider dtype"):
        entries(checkpoint, tmp_path / "answers", "rope_passkey_mc", schemes=("none",))
    assert not list((tmp_path / "answers").glob("*.jsonl"))


def test_an_answer_says_what_was_asked_and_told(checkpoint: str) -> None:
    found = entries(checkpoint, None, "rope_passkey_mc", "rope_niah_single", "rope_ppl", schemes=("none",))
    for answer in found["rope_passkey_mc none"]["answers"]:
        assert answer["prompt_end"].endswith("What is the pass key? The pass key is")
        assert len(answer["prompt_end"]) <= 400
        assert (answer["score"] == 1) == ([answer["got"]] == answer["expected"])
        assert answer["got"].isdigit()
    for answer in found["rope_niah_single none"]["answers"]:
        assert answer["got"]
        assert (answer["score"] == 1) == (answer["expected"][0] in answer["got"])
    text = found["rope_ppl none"]["answers"][0]
    assert (text["expected"], text["got"]) == ([], "")
    assert 0 < text["tokens"] <= LENGTHS[0]


class _Oracle:
    """Knows every passkey at the first length, and answers with a text that holds none at others."""

    batch_size, rank, world_size = 1, 0, 1

    def __init__(self) -> None:
        self.truncated: dict[str, int] = {}
        self.asked: list[int] = []

    def generate_until(self, requests: Any, disable_tqdm: bool) -> list[str]:
        lengths = [one.doc["length"] for one in requests]
        self.asked += lengths
        return [one.doc["answer"] if one.doc["length"] == LENGTHS[0] else "none" for one in requests]


@pytest.mark.parametrize(("target", "enough"), [(0.1, 6), (0.05, 19), (0.01, 20)])
def test_a_length_is_asked_until_it_is_known(checkpoint: str, target: float, enough: int) -> None:
    # for n right of n, half of Wilson's interval over 1.96 is 0.98 / (n + 3.84); looks come at 2, 3, 4, 6, 9, 13, 19
    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
    grid = Grid(("rope_passkey",), LENGTHS, depths=(0.5,), samples=20, target=target)
    (source,) = sources(grid, tokenizer)
    oracle, meter = _Oracle(), Meter()
    meter.expect(expected_tokens(source, meter))
    lm = StoredLM(oracle, Answers(None), {}, meter)  # type: ignore[arg-type]
    entry = ask(lm, source)
    assert [cell["samples"] for cell in entry["cells"]] == [enough, enough]
    assert oracle.asked.count(LENGTHS[0]) == enough
    assert [one["index"] for one in entry["answers"]] == [*range(enough)] * 2


def test_a_cell_that_wavers_is_asked_longer_than_one_that_is_sure(checkpoint: str) -> None:
    class Wavering(_Oracle):
        def generate_until(self, requests: Any, disable_tqdm: bool) -> list[str]:
            sure = super().generate_until(requests, disable_tqdm)
            return [
                one.doc["answer"] if one.doc["length"] == LENGTHS[1] and one.doc["index"] % 2 else text
                for one, text in zip(requests, sure, strict=True)
            ]

    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
    (source,) = sources(Grid(("rope_passkey",), LENGTHS, (0.5,), samples=20, target=0.12), tokenizer)
    lm = StoredLM(Wavering(), Answers(None), {}, Meter())  # type: ignore[arg-type]
    sure, wavering = ask(lm, source)["cells"]
    assert sure["samples"] < wavering["samples"]
    assert wavering["score"] == pytest.approx(0.5, abs=0.1)


def test_the_unpatched_model_is_asked_at_full_length(checkpoint: str) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
    lm = harness_model(model, tokenizer, Plan(("none",)), LENGTHS)
    (source,) = sources(Grid(("rope_niah_single",), LENGTHS, (0.5,), samples=1), tokenizer)
    read: list[int] = []

    def watch(module: Any, given: Any, options: Any) -> None:
        read.append(options["input_ids"].shape[1])

    model.register_forward_pre_hook(watch, with_kwargs=True)
    entry = ask(StoredLM(lm, Answers(None), {}, Meter()), source)
    assert entry["truncated_requests"] == {}
    assert sum(read) >= sum(LENGTHS) - 2 * 16
