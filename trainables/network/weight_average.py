"""Averages of the source's and the tuned weights: a last step without training that trades learning against forgetting.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT, arXiv 2109.01903).
"""

import copy
from collections.abc import Callable, Sequence

import torch

from trainables.errors import UsageError
from trainables.network.network import SuperResolutionNet

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the tuned weights that are tried; 1 is the tuned network."""


def interpolated(source: SuperResolutionNet, tuned: SuperResolutionNet, share: float) -> SuperResolutionNet:
    """A new network on the straight line from the source's weights (share 0) to the tuned ones (share 1).

    Statistics of batch norm are averaged too; its counters are the tuned network's.

    Raises:
        UsageError: If ``share`` is outside [0, 1] or the two networks have other shapes.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"The share of the tuned weights must lie between 0 and 1, found {share}.")
    if source.architecture != tuned.architecture:
        raise UsageError(f"Only equal networks can be averaged, found {source.architecture} and {tuned.architecture}.")
    start, end = source.state_dict(), tuned.state_dict()
    between = copy.deepcopy(tuned)
    between.load_state_dict(
        {
            name: torch.lerp(start[name].to(value.device), value, share) if value.is_floating_point() else value
            for name, value in end.items()
        }
    )
    return between.eval()


def best_interpolation(
    source: SuperResolutionNet,
    tuned: SuperResolutionNet,
    validate: Callable[[SuperResolutionNet], float],
    shares: Sequence[float] = SHARES,
) -> tuple[float, SuperResolutionNet, dict[float, float]]:
    """Picks the share on validation; a tie goes to the larger one, so that averaging must earn its place.

    Args:
        source: The source model.
        tuned: The network fine-tuned from it.
        validate: Scores a network in dB on validation images, higher is better.
        shares: Shares to try.

    Returns:
        The share, its network, and the score of every share in dB.
    """
    scores = {share: validate(interpolated(source, tuned, share)) for share in sorted(shares)}
    best = max(scores, key=lambda share: (scores[share], share))
    return best, interpolated(source, tuned, best), scores
