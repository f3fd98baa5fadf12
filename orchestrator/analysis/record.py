"""Record of an analysis of target domains, as its file has it and the command line prints it."""

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

from orchestrator.analysis.search_worth import SearchWorth

Regime = Literal["near", "between", "new content", "new degradation", "few images"]


class AdviceRecord(TypedDict):
    """A hypothesis about one domain, see :class:`orchestrator.analysis.advice.Advice`."""

    regime: Regime
    reason: str
    distance: float
    fitting_depth: int
    frozen_depth: Sequence[int]
    depth_prior: Sequence[float]
    points: list[dict[str, float]]


class Interval(TypedDict):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class Distance(Interval):
    """A distance with its interval, and its floor: the distance between two halves of the source."""

    floor: float


class MeasuredDistance(TypedDict):
    """A distance after one block, and its floor."""

    estimate: Interval
    floor: float


class BlockRecord(TypedDict):
    """Distances and similarity after one block."""

    frechet: MeasuredDistance
    mmd: MeasuredDistance
    proxy_a: MeasuredDistance
    content_frechet: float
    cka: Interval


class Spread(TypedDict):
    """A mean over images with its 95 % interval over scenes, and its standard deviation."""

    mean: float
    low: float
    high: float
    scenes: int
    spread: float


class SignalRecord(TypedDict):
    """Counts, spectral slope and noise of a set of images; None where no image shows them."""

    images: int
    scenes: int
    tiles: int
    spectral_slope: Spread | None
    noise: Spread | None


class SourceRecord(SignalRecord):
    """The source's images."""

    images_from: str
    degradation: str


class AdvisedDomain(TypedDict):
    """Advice from a domain's analysis for its search, or the reason why there is none."""

    advice: AdviceRecord | None
    reason: NotRequired[str]


class DomainAnalysis(AdvisedDomain, SignalRecord):
    """Distances of one target domain from the source, its signal, and the advice.

    ``values`` are data type, bands and value range of images other than 8-bit gray and RGB, in words;
    ``search_worth`` predicts what a search is worth, where the budget of a fine-tuning is known.
    """

    space: str
    degradation: str
    frechet_over_floor: Interval
    content_frechet_over_floor: float
    mmd: Distance
    proxy_a: Distance
    per_block: list[BlockRecord]
    values: NotRequired[str]
    search_worth: NotRequired[SearchWorth]


class Analysis(TypedDict):
    """An analysis of target domains with one source model."""

    model: str
    scale: int
    blocks: list[str]
    tile: int
    source: SourceRecord
    targets: dict[str, DomainAnalysis]
