"""Averages of weights: a last step without training.

Between the source's and the tuned weights an average trades learning against forgetting: Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models" (WiSE-FT, arXiv 2109.01903). Over trainings that differ in their seed it lowers the
variance: Wortsman et al. 2022, "Model soups" (arXiv 2203.05482).
"""

import copy
from collections.abc import Callable, Sequence

import torch

from trainables.errors import UsageError
from trainables.network.network import SuperResolutionNet

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the tuned weights that are tried; 1 is the tuned network."""

FINE_SHARES = tuple(round(0.05 * i, 2) for i in range(1, 21))
"""Shares that are tried where a limit on the source's loss must be met closely."""


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


def averaged(nets: Sequence[SuperResolutionNet]) -> SuperResolutionNet:
    """A new network with the mean of the weights of networks that were trained from the same source.

    Statistics of batch norm are averaged too; its counters are the first network's.

    Raises:
        UsageError: If there are none, or they have different shapes.
    """
    if not nets:
        raise UsageError("There are no networks to average.")
    first, *others = nets
    for other in others:
        if other.architecture != first.architecture:
            raise UsageError(
                f"Only equal networks can be averaged, found {first.architecture} and {other.architecture}."
            )
    states = [net.state_dict() for net in nets]
    mean = copy.deepcopy(first)
    mean.load_state_dict(
        {
            name: torch.stack([state[name].to(value.device) for state in states]).mean(0)
            if value.is_floating_point()
            else value
            for name, value in states[0].items()
        }
    )
    return mean.eval()


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
