"""Architecture of a network: the values that a model card stores, and the presets by name."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal

from trainables.errors import UsageError, suggestion

SCALES = (2, 3, 4)

Family = Literal["thin", "resnet18", "resnet34"]
FrozenFrom = Literal["input", "output"]
"""The end of the network that ``frozen_depth`` counts blocks from."""

STAGE_BLOCKS: dict[str, tuple[int, ...]] = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
"""Residual blocks of each stage of torchvision's networks; stage i is 64·2^(i-1) channels wide."""

MOST = {"width": 4096, "depth": 1024, "channels": 1024}
"""Upper limits of a network's shape, far above any that is used: a card must not ask for more than can be built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Everything that determines the network's shape.

    Attributes:
        scale: Scale factor r, one of 2, 3, 4.
        family: ``thin``: a narrow, deep trunk shaped for super-resolution; ``resnet18`` or ``resnet34``: torchvision's
            trunk without its strides, pooling and classifier.
        width: Feature channels of a thin trunk.
        depth: Residual blocks of a thin trunk.
        stages: Leading stages of a torchvision trunk that are kept, 1 to 4.
        norm: Normalisation of a torchvision trunk: ``batch`` as published, or ``none``.
        channels: Image channels C.
    """

    scale: int
    family: Family = "thin"
    width: int = 32
    depth: int = 8
    stages: int = 1
    norm: Literal["batch", "none"] = "batch"
    channels: int = 3

    def __post_init__(self) -> None:
        for name in ("width", "depth", "stages", "channels"):
            value, most = getattr(self, name), MOST.get(name, 4)
            if type(value) is not int or (name in MOST and value > most):
                raise UsageError(f"{name.capitalize()} must be a whole number up to {most}, found {value!r:.40}.")
        if type(self.scale) is not int or self.scale not in SCALES:
            raise UsageError(f"The scale factor must be one of {SCALES}, found {self.scale!r:.40}.")
        if self.family not in ("thin", *STAGE_BLOCKS):
            raise UsageError(f"The family must be thin, resnet18 or resnet34, found {self.family!r:.40}.")
        if self.norm not in ("batch", "none"):
            raise UsageError(f"The norm must be batch or none, found {self.norm!r:.40}.")
        if min(self.width, self.depth, self.channels) < 1 or not 1 <= self.stages <= 4:
            raise UsageError(f"Width, depth and channels must be at least 1 and stages 1 to 4, found {self}.")

    @property
    def blocks(self) -> int:
        """Residual blocks of the trunk."""
        return self.depth if self.family == "thin" else sum(STAGE_BLOCKS[self.family][: self.stages])

    @property
    def features(self) -> int:
        """Channels that the trunk hands to the generator."""
        return self.width if self.family == "thin" else 64 * 2 ** (self.stages - 1)

    @property
    def normalised(self) -> bool:
        """True of a network with batch normalisation."""
        return self.family != "thin" and self.norm == "batch"

    @property
    def receptive_radius(self) -> int:
        """LR pixels to each side that an output pixel depends on: three for a 7×7 convolution, one for each of 3×3."""
        stem = 1 if self.family == "thin" else 3
        return stem + 2 * self.blocks + 1

    def to_dict(self) -> dict[str, object]:
        """The values that matter for this family, as a model card stores them."""
        unused = {"stages", "norm"} if self.family == "thin" else {"width", "depth"}
        return {name: value for name, value in asdict(self).items() if name not in unused}


_PRESETS = {
    "tiny": partial(Architecture, width=16, depth=7),
    "base": partial(Architecture, width=32, depth=8),
    "large": partial(Architecture, width=64, depth=16),
    "resnet18": partial(Architecture, family="resnet18"),
    "resnet34": partial(Architecture, family="resnet34"),
}
PRESETS = tuple(_PRESETS)


def preset(name: str, scale: int) -> Architecture:
    """Returns the architecture called ``name`` for a scale factor.

    Raises:
        UsageError: If there is no such preset or the scale factor is not supported.
    """
    if name not in _PRESETS:
        raise UsageError(f"No network is called '{name}'; there are {', '.join(PRESETS)}.{suggestion(name, PRESETS)}")
    return _PRESETS[name](scale=scale)


def shortened(architecture: Architecture, kept_blocks: int) -> Architecture:
    """The architecture with the first ``kept_blocks`` residual blocks alone.

    Raises:
        UsageError: If it is a torchvision trunk, or has no such number of blocks.
    """
    if architecture.family != "thin":
        raise UsageError(
            "kept_blocks can shorten a thin trunk alone, after whose sums nothing follows; found family "
            f"{architecture.family}: leave kept_blocks out, or take a thin network."
        )
    if not 1 <= kept_blocks <= architecture.depth:
        raise UsageError(
            f"kept_blocks must lie between 1 and {architecture.depth}, the residual blocks of this network, found "
            f"{kept_blocks}."
        )
    return replace(architecture, depth=kept_blocks)


def frozen_depth_limit(architecture: Architecture) -> int:
    """The largest frozen depth: all blocks but one, the generator where depth counts from the input."""
    return architecture.blocks + 1


def check_frozen_depth(depth: int, architecture: Architecture) -> None:
    """Refuses a frozen depth that the network does not have.

    Raises:
        UsageError: If ``depth`` is outside 0 to :func:`frozen_depth_limit`.
    """
    limit = frozen_depth_limit(architecture)
    if not 0 <= depth <= limit:
        raise UsageError(
            f"frozen_depth must lie between 0 and {limit} (stem, {architecture.blocks} residual blocks and generator; "
            f"at least one of them trains), found {depth}."
        )
