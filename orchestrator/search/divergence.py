"""Score of a diverged trial: worse than every finished trial, and than bicubic.

Its record holds the score that its worker could compute, :data:`PENALTY_DB` below bicubic. A finished trial can be
worse than that, and would lead a sampler towards divergence. Trials are therefore compared with a score below the worst
finished trial at that time. That score is not recorded, and a resumed study computes the same one.
"""

from collections.abc import Sequence

PENALTY_DB = 3.0
"""Distance in dB of a diverged trial below bicubic and below the worst finished trial: finite, because Optuna drops
NaN, and small enough not to distort the sampler's model of the other trials."""


def penalised(values: Sequence[Sequence[float]], diverged: Sequence[bool]) -> list[list[float]]:
    """Values of the objectives with which trials are compared.

    Args:
        values: Recorded values of each trial: PSNR in dB, and the speed if that is an objective too.
        diverged: Whether each trial diverged.

    Returns:
        The values of finished trials unchanged. A diverged trial gets the lower of its own PSNR and
        :data:`PENALTY_DB` below the worst finished one, and at most the speed of the slowest finished trial, so that
        every finished trial dominates it.
    """
    finished = [scores for scores, failed in zip(values, diverged, strict=True) if not failed]
    if not finished:
        return [list(scores) for scores in values]
    worst = [min(column) for column in zip(*finished, strict=True)]
    limits = [worst[0] - PENALTY_DB, *worst[1:]]
    return [
        [min(value, limit) for value, limit in zip(scores, limits, strict=True)] if failed else list(scores)
        for scores, failed in zip(values, diverged, strict=True)
    ]
