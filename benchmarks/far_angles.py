"""Error of cos and sin against float64 by position, and what each way to compute them costs.

    python benchmarks/far_angles.py --theta 10000 --rotary-dim 128

Tables are cheapest where positions are whole, but megabytes for each frequency table and no use for fractions; chunks
are as exact as fixed point and more to read; quadrants buy a digit that float32 vectors cannot show.

Every column is the largest error over all pairs and over 4096 positions that end at the one named; time is that of
2^16 positions, and the best of five.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rope_scaling.angles import TURN, cos_sin_of_turns, fixed_point_turns
from rope_scaling.rope import plain_inv_freq

Method = Callable[[Tensor], tuple[Tensor, Tensor]]
ENDS = [2**k for k in (12, 14, 16, 18, 20, 23)]


def product(inv_freq: Tensor) -> Method:
    """The product p · θ in float32: Transformers."""
    short = inv_freq.float()

    def cos_sin(positions: Tensor) -> tuple[Tensor, Tensor]:
        angle = positions[:, None].float() * short
        return angle.cos(), angle.sin()

    return cos_sin


def two_products(inv_freq: Tensor) -> Method:
    """θ in two parts, p · θ still rounded with its whole turns: what a longer frequency alone would buy."""
    high = inv_freq.float()
    low = (inv_freq - high).float()

    def cos_sin(positions: Tensor) -> tuple[Tensor, Tensor]:
        p = positions[:, None].float()
        big, small = p * high, p * low
        # cos(a + b), so that the small part is not lost in the sum
        return big.cos() * small.cos() - big.sin() * small.sin(), big.sin() * small.cos() + big.cos() * small.sin()

    return cos_sin


def tables(inv_freq: Tensor) -> Method:
    """Position 2048 a + b, cos and sin of a and b from host-made tables of 4096 and 2048 rows, added as angles."""
    coarse, fine = torch.arange(4096)[:, None] * 2048 * inv_freq, torch.arange(2048)[:, None] * inv_freq
    made = [f(angle).float() for angle in (coarse, fine) for f in (torch.cos, torch.sin)]

    def cos_sin(positions: Tensor) -> tuple[Tensor, Tensor]:
        a, b = positions >> 11, positions & 2047
        ca, sa, cb, sb = (table[row] for table, row in zip(made, (a, a, b, b), strict=True))
        return ca * cb - sa * sb, sa * cb + ca * sb

    return cos_sin


def chunks(inv_freq: Tensor) -> Method:
    """Position and turns in chunks of 12 bits, whose float32 products are exact, whole turns dropped as they come."""
    parts = []
    for turns in (inv_freq / (2 * math.pi) * 4096 % 1.0, inv_freq / (2 * math.pi)):
        first = (turns * 2**12).round() / 2**12
        second = ((turns - first) * 2**24).round() / 2**24
        parts.append([part.float() for part in (first, second, turns - first - second)])

    def cos_sin(positions: Tensor) -> tuple[Tensor, Tensor]:
        digits = (positions >> 12)[:, None].float(), (positions & 4095)[:, None].float()
        turns, rest = torch.zeros(()), torch.zeros(())
        for n, (first, second, third) in zip(digits, parts, strict=True):
            for part in (first, second):
                exact = n * part
                turns = turns + (exact - exact.round())
                turns = turns - turns.round()
            rest = rest + n * third
        angle = (turns + rest) * (2 * math.pi)
        return angle.cos(), angle.sin()

    return cos_sin


def fixed_point(inv_freq: Tensor) -> Method:
    """Ours: turns as int64 in fixed point, one rounding of less than half a turn."""
    turns = fixed_point_turns([inv_freq.tolist()])
    return lambda positions: cos_sin_of_turns(positions[:, None], turns)


def fixed_point_in_quadrants(inv_freq: Tensor) -> Method:
    """Ours with less than an eighth of a turn to round: cos and sin change places and signs by quadrant."""
    high, low = fixed_point_turns([inv_freq.tolist()])[:, 0]

    def cos_sin(positions: Tensor) -> tuple[Tensor, Tensor]:
        n = positions[:, None]
        units = n * high + ((n * low) >> 32)
        quadrant = (units + TURN // 8) // (TURN // 4)
        angle = (units - quadrant * (TURN // 4)).float() * (2 * math.pi / TURN)
        cos, sin = angle.cos(), angle.sin()
        odd, minus_cos, minus_sin = quadrant & 1 == 1, quadrant + 1 & 2 == 2, quadrant & 2 == 2
        turned = torch.where(odd, sin, cos), torch.where(odd, cos, sin)
        return torch.where(minus_cos, -turned[0], turned[0]), torch.where(minus_sin, -turned[1], turned[1])

    return cos_sin


METHODS = {
    "float32 product": product,
    "frequency in two parts": two_products,
    "tables of two digits": tables,
    "12-bit chunks": chunks,
    "fixed point": fixed_point,
    "fixed point, quadrants": fixed_point_in_quadrants,
}


def error(method: Method, inv_freq: Tensor, end: int) -> float:
    positions = torch.arange(end - 4096, end)
    angle = positions[:, None].double() * inv_freq
    pairs = zip(method(positions), (angle.cos(), angle.sin()), strict=True)
    return max((value - right).abs().max().item() for value, right in pairs)


def milliseconds(method: Method) -> float:
    positions, times = torch.arange(2**16), []
    for _ in range(5):
        start = time.perf_counter()
        method(positions)
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--theta", type=float, default=1e4)
    parser.add_argument("--rotary-dim", type=int, default=128)
    args = parser.parse_args()
    inv_freq = torch.tensor(plain_inv_freq(args.theta, args.rotary_dim), dtype=torch.float64)
    print("| method |", *(f"2^{end.bit_length() - 1} |" for end in ENDS), "ms |")
    print("|---|" + "---|" * (len(ENDS) + 1))
    for name, make in METHODS.items():
        method = make(inv_freq)
        print(
            f"| {name} |", *(f"{error(method, inv_freq, end):.1e} |" for end in ENDS), f"{milliseconds(method):.0f} |"
        )


if __name__ == "__main__":
    main()
