"""How far a share found in a few trials may be from the true one."""

import math


def wilson(found: float, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval that holds the true share in 95 of 100 cases (Wilson 1927, score interval).

    Unlike share ± standard error it is not empty at 0 and 1, where passkeys often are. Partial credit counts as
    the sum of its shares: scores from 0 to 1 vary at most as much as right and wrong of the same mean, so the
    interval is then rather too wide than too narrow.

    Raises:
        ValueError: No trials, or more found than tried.
    """
    if trials < 1 or not 0 <= found <= trials:
        raise ValueError(f"found must be from 0 to the number of trials, at least 1; got {found} of {trials}")
    share, weight = found / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(centre - half, 0.0), min(centre + half, 1.0)
