"""Advice for a search from a domain's distance: starting points and a prior for the frozen depth.

These rules are hypotheses. They restate one probe of six domain shifts with another network of 0.3 million parameters,
one seed each: fine-tuning gained nothing (0.02 dB at most) where the squared MMD to the source was below 0.1, 0.5 to
1.7 dB where it was above 0.15, and freezing cost up to 0.3 dB where the degradation was new. MMD decides rather than
the Fréchet distance, because a kernel as wide as the median distance makes it the same on any scale of features, and
because its floor is about 0 for sets of any size, where a Fréchet distance's floor, and so its multiples of that floor,
depend on how many images there are. That early blocks must be trained where the input is corrupted is what surgical
fine-tuning found for classifiers (Lee et al. 2023, 2210.11466). No threshold was measured with the networks of this
package; a study that starts from the advice also starts from the default fine-tune, and can refute it.
"""

from dataclasses import dataclass, replace

from orchestrator.analysis.record import AdviceRecord, Regime
from search_spaces import TransferSpace
from trainables.loops.settings import TransferConfiguration

NEAR, FAR = 0.1, 0.15
"""Squared MMD above its floor: below the first no gain is expected, from the second on one is."""

FITS = 0.9
"""Linear CKA, at the low end of its interval, from which a block's features count as undisturbed by the degradation."""

FEW_IMAGES = 8
"""Training on so few images, or fewer, overfits before it adapts."""

_OUTSIDE = 0.5
"""Factor on the prior of each block outside the advised depths; none is ruled out."""

_REASONS: dict[Regime, str] = {
    "near": "close to the source: little to gain, stay near the source model",
    "between": "neither close nor far: nothing is advised against",
    "new content": "far, but the degradation leaves the features as they were: early blocks may stay",
    "new degradation": "far, and the degradation disturbs the features early: train from the first blocks",
    "few images": f"{FEW_IMAGES} images or fewer: stay near the source model",
}
# Learning rate and λ of two points each: in the middle of what the probe's best runs used, and at its far end.
_RATES: dict[Regime, tuple[tuple[float, float], tuple[float, float]]] = {
    "near": ((5e-5, 1e-2), (2e-4, 1e-3)),
    "between": ((2e-4, 1e-3), (8e-4, 0.0)),
    "new content": ((3e-4, 1e-3), (1e-3, 0.0)),
    "new degradation": ((8e-4, 1e-4), (2e-3, 0.0)),
    "few images": ((1e-4, 3e-2), (3e-5, 1e-2)),
}


@dataclass(frozen=True, slots=True)
class Advice:
    """A hypothesis about one domain, as data that a search can enqueue.

    Attributes:
        regime: Rule that applied.
        reason: That rule in a sentence.
        distance: Squared MMD above its floor, the median over blocks.
        fitting_depth: Leading blocks whose features the target's degradation leaves as they were.
        frozen_depth: Advised range, both ends included.
        depth_prior: Probability of each frozen depth from 0 to the deepest; sums to 1.
        points: Configurations to try first, inside the space, the likeliest first.
    """

    regime: Regime
    reason: str
    distance: float
    fitting_depth: int
    frozen_depth: tuple[int, int]
    depth_prior: tuple[float, ...]
    points: tuple[TransferConfiguration, ...]

    def record(self) -> AdviceRecord:
        """The advice as the analysis has it on file."""
        return {
            "regime": self.regime,
            "reason": self.reason,
            "distance": self.distance,
            "fitting_depth": self.fitting_depth,
            "frozen_depth": self.frozen_depth,
            "depth_prior": self.depth_prior,
            "points": [point.to_dict() for point in self.points],
        }


def advise(distance: float, cka: list[float], images: int, space: TransferSpace, limit: int) -> Advice:
    """Applies the rules.

    Args:
        distance: Squared MMD above its floor, the median over blocks.
        cka: Low end of each block's CKA interval, from the stem on.
        images: Images to train on.
        space: The domain's search space, which the points must lie in.
        limit: The network's deepest frozen depth.
    """
    deepest = limit if space.deepest is None else min(limit, space.deepest)
    fitting = next((depth for depth, value in enumerate(cka) if value < FITS), len(cka))
    regime = _regime(distance, fitting, images, limit)
    band = {
        "near": (limit // 2, limit),
        "between": (0, limit),
        "new content": (0, limit // 2),
        "new degradation": (0, max(1, fitting)),
        "few images": (limit // 2, limit),
    }[regime]
    low, high = min(band[0], deepest), min(band[1], deepest)
    depths = (low, (low + high) // 2 if regime in ("near", "few images") else min(low + 1, high))
    points = [
        _inside(TransferConfiguration(learning_rate=rate, lambda_=lambda_, frozen_depth=depth), space)
        for (rate, lambda_), depth in zip(_RATES[regime], depths, strict=True)
    ]
    weights = [_OUTSIDE ** max(0, low - depth, depth - high) for depth in range(deepest + 1)]
    prior = tuple(weight / sum(weights) for weight in weights)
    return Advice(regime, _REASONS[regime], distance, fitting, (low, high), prior, tuple(dict.fromkeys(points)))


def _regime(distance: float, fitting: int, images: int, limit: int) -> Regime:
    if images <= FEW_IMAGES:
        return "few images"
    if distance < NEAR:
        return "near"
    if distance < FAR:
        return "between"
    return "new content" if fitting > limit // 2 else "new degradation"


def _inside(point: TransferConfiguration, space: TransferSpace) -> TransferConfiguration:
    (slow, fast), (floor, highest) = space.learning_rate, space.lambda_
    rate = min(max(point.learning_rate, slow), fast)
    return replace(point, learning_rate=rate, lambda_=point.lambda_ and min(max(point.lambda_, floor), highest))
