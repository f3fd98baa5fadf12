"""Search space of a target domain: the degradation of its images and the ranges of fine-tuning."""

import re
from dataclasses import dataclass

from trainables.degradation import Degradation
from trainables.errors import UsageError
from trainables.loops.settings import TransferConfiguration

_ID = re.compile(r"(?P<domain>[a-z][a-z0-9_]*)-v(?P<version>[1-9][0-9]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSpace:
    """One target domain.

    Attributes:
        id: Versioned id such as ``satellite-v2``. Any change that can change a result needs a new version.
        title: A few words for reports.
        degradation: Model of the degradation of the domain's images.
        learning_rate: Lowest and highest learning rate, searched on a log scale.
        lambda_: λ floor and highest λ, searched on a log scale; a sampled λ below the floor means exactly 0.
        zero_share: Share of λ's sampled log range that lies below the floor, in (0, 1).
        deepest: Largest frozen depth to try; None for as deep as the network allows.
        starts: Configurations of its own that a study tries first where `search.starts` names `space`.
    """

    id: str
    title: str
    degradation: Degradation
    learning_rate: tuple[float, float] = (3e-5, 3e-3)
    lambda_: tuple[float, float] = (1e-5, 1e-1)
    zero_share: float = 0.25
    deepest: int | None = None
    starts: tuple[TransferConfiguration, ...] = ()

    @property
    def domain(self) -> str:
        """The id without its version."""
        return self.id.rpartition("-v")[0]

    @property
    def version(self) -> int:
        """The version in the id, from 1."""
        return int(self.id.rpartition("-v")[2])

    @property
    def lambda_range(self) -> tuple[float, float]:
        """Ends of the range that λ is sampled from: the part below the floor is ``zero_share`` of its logarithm."""
        floor, highest = self.lambda_
        return floor * (floor / highest) ** (self.zero_share / (1 - self.zero_share)), highest


def check_domain(space: TransferSpace) -> list[str]:
    """Names every rule that a space breaks; an empty list means that it can be searched.

    A domain's author calls this, or inherits :class:`search_spaces.testing.DomainContract`.
    """
    broken = []
    if not _ID.fullmatch(space.id):
        broken.append(f"id must look like 'thermal-v1', found '{space.id}'")
    if not space.title.strip():
        broken.append("title must not be empty")
    for name, (low, high) in {"learning_rate": space.learning_rate, "lambda_": space.lambda_}.items():
        if not 0 < low < high:
            broken.append(f"{name} must be a range with 0 < low < high, found ({low}, {high})")
    if not 0 < space.zero_share < 1:
        broken.append(f"zero_share must lie strictly between 0 and 1, found {space.zero_share}")
    if space.deepest is not None and space.deepest < 0:
        broken.append(f"deepest must be 0 or more, found {space.deepest}")
    broken += [f"start {start} lies outside the space" for start in space.starts if not _inside(start, space)]
    return broken


def checked(space: object, where: str) -> TransferSpace:
    """Returns ``space`` if it is a valid TransferSpace.

    Raises:
        UsageError: If it is not, naming ``where`` it came from and each broken rule.
    """
    if not isinstance(space, TransferSpace):
        raise UsageError(f"{where} must be a TransferSpace, found {type(space).__name__}.")
    if broken := check_domain(space):
        raise UsageError(f"{where} is not a usable search space: {'; '.join(broken)}.")
    return space


def _inside(start: TransferConfiguration, space: TransferSpace) -> bool:
    in_rate = space.learning_rate[0] <= start.learning_rate <= space.learning_rate[1]
    in_lambda = start.lambda_ == 0 or space.lambda_[0] <= start.lambda_ <= space.lambda_[1]
    in_depth = start.frozen_depth >= 0 and (space.deepest is None or start.frozen_depth <= space.deepest)
    return in_rate and in_lambda and in_depth
