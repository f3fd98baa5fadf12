"""Recognition of bands of classes, masks or flags by metadata, names and values.

Their values must not be interpolated (a 5 does not lie between 4, vegetation, and 6, water), so that such bands are
repeated r×r instead of filtered.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.archive.scene.samples import Sample
from orchestrator.archive.scene.types import Labels, SceneError
from orchestrator.foundation.sidecars import AUX

_NAME = (
    # Sentinel-2, Landsat, MODIS, Planet
    r"scl|qa ?60|qa ?10|qa ?20|bqa|qa ?pixel|pixel ?qa|qa ?radsat|radsat ?qa|(?:sr )?(?:qa )?aerosol(?: qa)?|cloud ?qa"
    r"|sr cloud qa|st qa flags|qc(?: day| night)?|state 1km|fmask\d?|cfmask|msk [a-z]+|classi|clm|udm2?"
    # masks
    r"|(?:cloud|shadow|snow|water|land|sea|valid|data|nodata|burn|forest|building|road) ?masks?|mask ?bits?"
    # land cover
    r"|land ?cover|land ?use|lulc|lucc|clc|corine|world ?cover|dltb|nlcd|cdls?|crop ?types?|cropland data layer"
    r"|dynamic ?world|globe ?land ?(?:30)?|glc ?fcs\d*d?|from glc|lc type ?\d|lccs|ghs smod|local climate zones?|lcz"
)
_KNOWN = re.compile(rf"(?<![a-z0-9])({_NAME})(?:[ -]?v?\d+m?)?(?![a-z0-9])")
_GENERIC = re.compile(
    r"(?<![a-z0-9])(?:masks?|class(?:es|ification|ified)?|labels?|categor(?:y|ies)|flags?|segmentation|segments?"
    r"|annotations?|ground ?truth|quality ?flags?)(?:\d*)(?![a-z0-9])"
)
"""Names that count only if the values agree."""

_MOST_CLASSES = 40
_MOST_FLAGS = 64
"""Most different values with which a known name suffices, whatever the distribution of the values."""
_PATCHY = 0.6
"""Least share of equal neighbours, beside the most frequent value: classes lie in patches, noise does not."""
_JUMPS = 0.25
"""Least share, among unequal neighbours, of those with a value of the band between them: pictures have slopes."""
_HIGHEST_CLASS, _HIGHEST_WITHOUT_A_PLACE, _HIGHEST_OF_TWO = 100, 40, 10


@dataclass(frozen=True, slots=True)
class Values:
    """Distribution of the values of a band, from samples of it.

    Attributes:
        distinct: Different values, sorted.
        patchy: Share of equal neighbours among pixels that do not have the most frequent value.
        jumps: Share of unequal neighbours that have another value of the band between them.
    """

    distinct: NDArray[Any]
    patchy: float
    jumps: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Values":
        """Distribution over windows (H, W), with the mask of the samples that have a value."""
        known = [window if valid is None else window[valid] for window, valid in samples]
        joined = np.concatenate([window.ravel() for window in known]) if known else np.empty(0)
        distinct, counts = np.unique(joined, return_counts=True)
        if len(distinct) < 2:
            return cls(distinct, 0.0, 0.0)
        mode = distinct[counts.argmax()]
        equal = beside = unequal = jumping = 0
        for left, right in _neighbours(samples):
            counted = left != mode
            beside += int(counted.sum())
            equal += int((counted & (left == right)).sum())
            different = left != right
            unequal += int(different.sum())
            ranks = np.searchsorted(distinct, left[different]) - np.searchsorted(distinct, right[different])
            jumping += int((np.abs(ranks) > 1).sum())
        return cls(distinct, equal / max(beside, 1), jumping / max(unequal, 1))

    def are_classes(self, placed: bool) -> bool:
        """True if they can hardly be anything but classes or flags; ``placed``: a map, no photograph or scan."""
        count = len(self.distinct)
        if not 2 <= count <= _MOST_CLASSES or self.patchy < _PATCHY or self.distinct[0] < 0:
            return False
        highest = self.distinct[-1]
        if count == 2:
            # 0 and 1 cannot be seen as a picture; 0 and 255 are one in black and white.
            return bool(placed and highest <= _HIGHEST_OF_TWO)
        deep = self.distinct.dtype.itemsize > 1
        limit = np.inf if placed and deep else _HIGHEST_CLASS if placed else _HIGHEST_WITHOUT_A_PLACE
        return bool(self.jumps >= _JUMPS and highest <= limit)

    @property
    def may_be_flags(self) -> bool:
        """True if nothing speaks against a name that means flags."""
        return len(self.distinct) <= _MOST_FLAGS or self.patchy >= _PATCHY


def _neighbours(
    samples: Sequence[Sample],
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Values that lie side by side or below each other, where both are known."""
    for window, valid in samples:
        for left, right in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
            both = np.s_[:] if valid is None else valid[left] & valid[right]
            yield window[left][both].ravel(), window[right][both].ravel()


def known_name(text: str) -> str | None:
    """The part of a file's or band's name that means classes or flags in the field."""
    found = _KNOWN.search(_words(text))
    return None if found is None else found.group(1)


def generic_name(text: str) -> str | None:
    """The part of a name that may mean classes or flags."""
    found = _GENERIC.search(_words(text))
    return None if found is None else found.group().strip()


def _words(text: str) -> str:
    """Lower-case words: ``LC08_QA_PIXEL`` and ``CloudMask-10m`` to ``lc08 qa pixel`` and ``cloud mask 10m``."""
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)).lower()


def stated_by_companions(path: Path) -> str | None:
    """Evidence in files beside a scene: category names, a thematic attribute table, a value attribute table, colours.

    Raises:
        SceneError: ``unsupported``, for an ``.aux.xml`` that cannot be read.
    """
    for ending in (".vat.dbf", ".vat.DBF"):
        if path.with_name(path.name + ending).is_file():
            return "a value attribute table"
    if path.with_suffix(".clr").is_file():
        return "a table of class colours"
    pam = path.with_name(path.name + AUX)
    if not pam.is_file():
        return None
    from orchestrator.archive.scene.open_raster import read_pam  # rasterio, which a listing does without

    root = read_pam(pam)
    if any((name.text or "").strip() for name in root.iter("Category")):
        return "category names"
    if any(table.get("tableType", "").lower() == "thematic" for table in root.iter("GDALRasterAttributeTable")):
        return "a thematic attribute table"
    return None


def check_refused(reasons: dict[int, str], labels: Labels) -> None:
    """Refuses bands of classes where that is wanted.

    Raises:
        SceneError: ``unsupported``.
    """
    if reasons and labels == "refuse":
        raise SceneError(
            "unsupported",
            f"Its values are classes or flags ({next(iter(reasons.values()))}), which must not be filtered. "
            "--labels repeat repeats them, --labels filter treats them as a picture.",
        )
