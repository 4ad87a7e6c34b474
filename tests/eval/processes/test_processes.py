from __future__ import annotations

import random

import pytest
import torch
from accelerate import PartialState

from rope_scaling.eval.devices import check_there, place_for
from rope_scaling.eval.engine.division import digest, divide
from rope_scaling.eval.processes import ALONE, LostProcessError, Processes, deal, join_processes
from tests.eval.processes.launch import launched

SECOND = Processes(1, 2, torch.device("cuda", 1))


def test_processes_divide_work_notice_other_questions_and_end_when_one_fails() -> None:
    run = launched("-m", "tests.eval.processes.failing", seconds=100)
    said, refused = run.stdout.splitlines()  # and no more: all is not well
    assert said == "said by 0"
    assert refused.startswith("the processes of this run were asked different things")
    assert "Error: the second has run out of memory" in run.stderr
    assert run.returncode != 0


def test_a_process_that_finds_no_other_does_not_do_all_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where accelerate was told before that it is alone."""
    PartialState()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"a launcher says that it started 2 processes .* but this one finds no other"):
        join_processes()


def test_who_waits_for_a_process_that_is_gone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_gather_object", closed)
    with pytest.raises(LostProcessError, match="process 1 of 2 waits in vain: another one has ended"):
        SECOND.gather(1)


def test_without_a_launcher_there_is_one_process_that_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    assert join_processes() == ALONE
    with ALONE.first_speaks():
        print("hello")
    with Processes(1, 2).first_speaks():
        print("not I")
    assert capsys.readouterr().out == "hello\n"
    assert ALONE.gather(3) == [3]


def test_texts_that_begin_alike_are_read_by_one_process() -> None:
    rng = random.Random(0)
    haystacks = [[rng.randrange(9) for _ in range(1000)] for _ in range(4)]
    texts = [[*haystack, rng.randrange(9)] for haystack in haystacks for _ in range(8)]
    rng.shuffle(texts)
    parts = divide(texts, 2)
    assert sorted(number for part in parts for number in part) == list(range(len(texts)))
    read = [{tuple(texts[number][:1000]) for number in part} for part in parts]
    assert not read[0] & read[1]
    assert [len(one) for one in read] == [2, 2]


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_every_text_is_read_once_and_parts_are_about_as_long(parts: int) -> None:
    rng = random.Random(parts)
    texts = [[rng.randrange(99) for _ in range(rng.randrange(1, 60))] for _ in range(200)]
    steps = [rng.randrange(20) for _ in texts]
    found = divide(texts, parts, steps)
    assert sorted(number for part in found for number in part) == list(range(200))
    loads = [sum(len(texts[n]) + steps[n] for n in part) for part in found]
    assert max(loads) - min(loads) < 3 * 80


def test_fewer_texts_than_processes_leave_some_without_work() -> None:
    assert sorted(divide([[1, 2]], 3)) == [[], [], [0]]
    assert divide([], 2) == [[], []]
    assert sorted(deal([5.0], 3)) == [[], [], [0]]


def test_the_longest_pieces_are_dealt_first() -> None:
    assert deal([1, 9, 1, 1, 6], 2) == [[1], [0, 2, 3, 4]]


def test_other_texts_or_another_order_have_another_digest() -> None:
    texts = [[1, 2], [3]]
    assert len({digest(one) for one in (texts, texts[::-1], [[1], [2, 3]], [[1, 2, 3]])}) == 4
    assert digest(texts) == digest([[1, 2], [3]])


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"--device cuda:99: this machine has \d+ CUDA devices"):
        check_there("cuda:99")
    check_there("cpu")
    check_there("auto")


def test_each_process_loads_the_model_where_its_launcher_said() -> None:
    assert place_for(None, SECOND) == place_for("cuda", SECOND) == "cuda:1"
    assert place_for(None, Processes(0, 2, torch.device("cpu", 0))) == "cpu"
    assert place_for("cuda:3", ALONE) == "cuda:3"
    with pytest.raises(ValueError, match="--device auto spreads one model over all devices"):
        place_for("auto", SECOND)
    with pytest.raises(ValueError, match="--device cuda:0, but the launcher gave process 1 of 2 cuda:1"):
        place_for("cuda:0", SECOND)
