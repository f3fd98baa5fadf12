"""What a diverged trial counts as: worse than every trial that finished, and than bicubic.

A record keeps what its worker knew, :data:`PENALTY_DB` below bicubic. A finished trial can be worse than that, and a
sampler that took divergence for the better of the two would be drawn to it. So whoever compares trials takes the worst
finished one of that moment into account: nothing of it is recorded, and a resumed study comes to the same values.
"""

from collections.abc import Sequence

PENALTY_DB = 3.0
"""What a diverged trial scores below bicubic, and below the worst finished trial: finite, because Optuna drops NaN, and
near enough to leave the model of the other trials in shape."""


def penalised(values: Sequence[Sequence[float]], diverged: Sequence[bool]) -> list[list[float]]:
    """The values that trials count with.

    Args:
        values: Of each trial what is maximised, as recorded: PSNR in dB first, and speed where that is searched too.
        diverged: Which of the trials diverged.

    Returns:
        The values of finished trials as they are; a diverged trial is :data:`PENALTY_DB` below the worst finished PSNR
        or what it has, whichever is less, and no faster than the slowest finished trial, so that every finished one
        dominates it.
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
