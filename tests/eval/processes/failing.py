"""Two processes that divide work; of which, if asked to, one fails in the middle of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rope_scaling.eval.processes import join_processes

if __name__ == "__main__":
    own = join_processes()
    assert own.count == 2

    def work(numbers: Sequence[int]) -> dict[int, int]:
        if "fail" in sys.argv and not own.is_first:
            raise SystemExit("Error: the second has run out of memory")
        return dict.fromkeys(numbers, own.index)

    with own.first_speaks():
        print("said by", own.index)
        assert own.share("the same", [[0, 2], [1]], work) == {0: 0, 1: 1, 2: 0}
        assert own.from_first(own.index) == 0
        try:
            own.share(f"question {own.index}", [[0, 2], [1]], work)
        except ValueError as error:
            print(error)
