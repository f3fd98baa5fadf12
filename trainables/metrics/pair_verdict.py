"""Distribution of what was measured of a set's LR-HR pairs, and whether a network can learn from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.metrics.pair_checks import ALIKE, PairMeasures

Values = NDArray[np.float64]

OVERLAP_LIMIT = 0.5
"""Median share of common valid pixels that is enough."""
SHIFT_LIMIT = 0.25
"""Largest median displacement in LR pixels: what the half-pixel conventions of software differ by at x2."""
SPREAD_LIMIT = 1.0
"""Displacement of a single pair, in LR pixels, beyond which it counts as misregistered."""
MAGNIFICATION_LIMIT = 0.005
"""Largest median deviation of the magnification from 1: a pixel at the border of an LR image of 400 pixels."""
TRANSFER_LIMIT = 0.06
"""Least median share of HR's contrast in the upper quarter of frequencies: the domains' degradations leave 0.2 and more
of it, enlarged images 0.02 and less."""
SLOPE_LIMIT, OFFSET_LIMIT = 0.1, 0.03
"""Largest median deviation of a band's slope from 1, and of its offset from 0 as a share of the value range."""
_TOLERATED = 0.1
"""Share of pairs that may be misregistered or show something else."""
_ERRORS = 3.0
"""A median displacement or magnification counts from so many of its standard errors: pairs may vary at random."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """Findings about a set's pairs.

    Attributes:
        lines: Medians of what was measured, with the range from 5 to 95 %.
        faults: Parts of a sentence that say why no network should be trained on them, the most severe one first.
    """

    lines: tuple[str, ...]
    faults: tuple[str, ...]


def judge(
    measured: Mapping[str, PairMeasures],
    scale: int,
    bands: Sequence[str],
    *,
    register: bool = False,
    radiometry: bool = False,
) -> PairVerdict:
    """Judges a set of pairs.

    Args:
        measured: Measures of each pair, by name; at least one.
        scale: Scale factor r.
        bands: Names of the bands.
        register: Displacements are corrected, so that they are no fault.
        radiometry: So are slopes and offsets.
    """
    found = list(measured.values())
    faults = [
        _wrong_scale(measured, scale),
        _other_content(measured),
        _little_overlap(found),
        _wrong_magnification(found),
        _enlarged(found),
        None if register else _displaced(found),
        None if radiometry else _wrong_radiometry(found, bands),
    ]
    return PairVerdict(tuple(_lines(found, bands)), tuple(fault for fault in faults if fault))


def _lines(found: Sequence[PairMeasures], bands: Sequence[str]) -> list[str]:
    place = [f"overlap {_said(_known(found, lambda m: m.overlap), '.0%')} of {len(found)} pairs"]
    shifts = [m.shift for m in found if m.shift is not None]
    if shifts:
        down, right = np.array(shifts).T
        place.append(f"displacement of LR in LR pixels {_said(down, '.2f')} down, {_said(right, '.2f')} right")
    else:
        place.append("no pair has enough common pixels with contrast to be registered")
    magnification, transfer = _known(found, lambda m: m.magnification), _known(found, lambda m: m.fine_transfer)
    detail = [f"magnification beyond the scale factor {_said(magnification, '.4f')}"] if len(magnification) else []
    if len(transfer):
        detail.append(f"LR holds {_said(transfer, '.0%')} of the contrast of the finest detail")
    lines = [
        f"{band} {_said(slopes, '.3f')} · HR + {_said(offsets, '.3f')}"
        for number, band in enumerate(bands)
        for slopes, offsets in [_radiometry(found, number)]
        if len(slopes)
    ]
    parts = ["; ".join(place), "; ".join(detail), "LR = " * bool(lines) + "; ".join(lines)]
    return [part for part in parts if part]


def _said(values: Values, how: str) -> str:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{middle:{how}} ({low:{how}} to {high:{how}})"


def _known(found: Sequence[PairMeasures], of: Callable[[PairMeasures], float | None]) -> Values:
    return np.array([value for value in map(of, found) if value is not None], dtype=float)


def _radiometry(found: Sequence[PairMeasures], band: int) -> tuple[Values, Values]:
    slopes = _known(found, lambda m: _in_band(m.slopes, band))
    return slopes, _known(found, lambda m: _in_band(m.offsets, band))


def _in_band(values: Sequence[float | None], band: int) -> float | None:
    """A measure of one band; a gray image among coloured ones has one for all bands."""
    return values[band if len(values) > 1 else 0] if values else None


def _wrong_scale(measured: Mapping[str, PairMeasures], scale: int) -> str | None:
    shown = {name: m.shown_scale for name, m in measured.items() if m.shown_scale is not None}
    if len(shown) <= _TOLERATED * len(measured):
        return None
    scales = " or ".join(f"x{s}" for s in sorted(set(shown.values())))
    return (
        f"{len(shown)} of {len(measured)} LR images show their scene at {scales} and not at x{scale}, though the sizes "
        f"fit, {_such_as(shown)}"
    )


def _other_content(measured: Mapping[str, PairMeasures]) -> str | None:
    other = [
        name
        for name, m in measured.items()
        if m.correlation is not None and m.correlation < ALIKE and m.shown_scale is None
    ]
    if len(other) <= _TOLERATED * len(measured):
        return None
    return f"{len(other)} of {len(measured)} LR images do not show what their HR image shows, {_such_as(other)}"


def _little_overlap(found: Sequence[PairMeasures]) -> str | None:
    overlap = float(np.median([m.overlap for m in found]))
    return f"LR and HR share {overlap:.0%} of their valid pixels in the median" if overlap < OVERLAP_LIMIT else None


def _wrong_magnification(found: Sequence[PairMeasures]) -> str | None:
    magnification = _known(found, lambda m: m.magnification)
    if not len(magnification):
        return None
    beyond = float(np.median(magnification)) - 1
    if abs(beyond) <= max(MAGNIFICATION_LIMIT, _ERRORS * float(_median_error(magnification[:, None])[0])):
        return None
    return f"LR shows things {abs(beyond):.1%} {'larger' if beyond > 0 else 'smaller'} than the scale factor says"


def _enlarged(found: Sequence[PairMeasures]) -> str | None:
    transfer = _known(found, lambda m: m.fine_transfer)
    wrong = _wrong_magnification(found)
    if not len(transfer) or wrong or np.median(transfer) >= TRANSFER_LIMIT:
        return None
    return "the LR images were enlarged or blurred: they hold no detail of the size of their pixels"


def _displaced(found: Sequence[PairMeasures]) -> str | None:
    shifts = np.array([m.shift for m in found if m.shift is not None], dtype=float)
    if not len(shifts):
        return None
    middle = np.median(shifts, axis=0)
    if np.hypot(*middle) > max(SHIFT_LIMIT, _ERRORS * np.hypot(*_median_error(shifts))):
        return (
            f"LR is displaced against HR by {middle[0]:.2f} down and {middle[1]:.2f} right in the median, in LR pixels "
            f"(limit {SHIFT_LIMIT:g})"
        )
    far = np.hypot(*shifts.T) > SPREAD_LIMIT
    if far.mean() <= _TOLERATED:
        return None
    return f"{far.sum()} of {len(shifts)} pairs are displaced by more than {SPREAD_LIMIT:g} LR pixel"


def _median_error(values: Values) -> Values:
    """Standard errors of the columns' medians, from their median deviations."""
    deviations = np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    errors: Values = 1.2533 * 1.4826 * deviations / np.sqrt(len(values))
    return errors


def _wrong_radiometry(found: Sequence[PairMeasures], bands: Sequence[str]) -> str | None:
    worst, fault = 1.0, None
    for number, band in enumerate(bands):
        slopes, offsets = _radiometry(found, number)
        if not len(slopes):
            continue
        slope, offset = float(np.median(slopes)), float(np.median(offsets))
        excess = max(abs(slope - 1) / SLOPE_LIMIT, abs(offset) / OFFSET_LIMIT)
        if excess > worst:
            worst, fault = excess, f"LR = {slope:.3f} · HR {'-' if offset < 0 else '+'} {abs(offset):.3f} in {band}"
    return fault and (
        f"radiometry differs, {fault} (limits: slope 1 ± {SLOPE_LIMIT:g}, offset ± {OFFSET_LIMIT:g} of the value range)"
    )


def _such_as(names: Mapping[str, object] | Sequence[str]) -> str:
    return "such as " + ", ".join(f"'{name}'" for name in list(names)[:_NAMED])
