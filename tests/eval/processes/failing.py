"""Two processes that divide work, are asked different things, and of which one fails in the end."""

from __future__ import annotations

from collections.abc import Sequence

from rope_scaling.eval.processes import join_processes

if __name__ == "__main__":
    own = join_processes()
    assert own.count == 2

    def work(numbers: Sequence[int]) -> dict[int, int]:
        return dict.fromkeys(numbers, own.index)

    def failing(numbers: Sequence[int]) -> dict[int, int]:
        if not own.is_first:
            raise SystemExit("Error: the second has run out of memory")
        return work(numbers)

    with own.first_speaks():
        print("said by", own.index)
        assert own.share("the same", [[0, 2], [1]], work) == {0: 0, 1: 1, 2: 0}
        assert own.from_first(own.index) == 0
        try:
            own.share(f"question {own.index}", [[0, 2], [1]], work)
        except ValueError as error:
            print(error, flush=True)
        own.share("the same", [[0], [1]], failing)
        print("all is well", flush=True)
