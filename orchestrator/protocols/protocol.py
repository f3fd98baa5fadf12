"""Record of a published benchmark: its test pairs, its comparison and its published results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from trainables.images.raster import GRAY

Comparison = Literal["luma", "rgb", "bands", "volume"]
"""Planes that are compared: BT.601 luma (gray images: their channel), all of red, green and blue, each band of a
reflectance image, or all slices of a volume."""

REFLECTANCE = 10_000.0
"""Stored value of a reflectance of 1, in all data sets of satellites here."""

BICUBIC = "bicubic"
"""Name of the arm, and of the published row, by which a measurement is recognised as the published one."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedPair:
    """Pixels of a test pair.

    Attributes:
        hr: (N, H, W, C), N being 1 but for the slices of a volume: uint8, or float32 shares of the value range.
        lr: (N, h, w, C) likewise; None where the protocol makes it from ``hr``.
        bands: Names of the bands.
    """

    hr: NDArray[Any]
    lr: NDArray[Any] | None
    bands: tuple[str, ...] = GRAY


@dataclass(frozen=True, slots=True)
class BenchmarkPair:
    """A test pair that has not been read yet.

    Attributes:
        name: Name of the HR image, for messages.
        scene: Images of one scene are resampled together for an interval.
        part: Part of the benchmark that it belongs to.
        load: Reads it.
    """

    name: str
    scene: str
    part: str
    load: Callable[[], LoadedPair]


@dataclass(frozen=True, slots=True)
class Published:
    """A published result.

    Attributes:
        method: Name of the method; :data:`BICUBIC` for bicubic interpolation.
        scale: Scale factor.
        measures: Values by the measure's name.
        source: Paper or page that states them.
    """

    method: str
    scale: int
    measures: Mapping[str, float]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A published benchmark.

    Attributes:
        name: Name on the command line.
        title: Name in print.
        home: Page of the data set.
        scales: Scale factors that it is defined for.
        layout: Folders that ``find`` expects, in a sentence's second half ("it holds …").
        lr: Origin of the LR images.
        comparison: Planes that are compared.
        measures: Names of the measures, the first being the one of intervals.
        definition: Definition of the measures, with its source.
        find: Lists the test pairs below a folder at a scale factor.
        border: Pixels left out at each side, as a multiple of the scale factor and a number added to it.
        images: Number of test images by part; empty where the set states none.
        published: Published results.
        notes: Known differences between the published measurement and ours.
    """

    name: str
    title: str
    home: str
    scales: tuple[int, ...]
    layout: str
    lr: str
    comparison: Comparison
    measures: tuple[str, ...] = ("psnr", "ssim")
    definition: str
    find: Callable[[Path, int], list[BenchmarkPair]]
    border: tuple[int, int] = (1, 0)
    images: Mapping[str, int]
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()

    def border_at(self, scale: int) -> int:
        """Pixels left out at each side at a scale factor."""
        return self.border[0] * scale + self.border[1]

    def published_at(self, scale: int) -> list[Published]:
        """Published results at a scale factor."""
        return [row for row in self.published if row.scale == scale]
