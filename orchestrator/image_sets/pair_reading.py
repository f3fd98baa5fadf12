"""LR-HR pairs as they are read: whether their sizes fit, how they lie on each other, and their corrections."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from orchestrator.experiment.image_settings import PairReading
from trainables.errors import ImageSetError, UnreadableImageError, UsageError
from trainables.images.pair_correction import matched, registered
from trainables.images.raster import GRAY, PLAIN, RGB, PixelFormat, Raster
from trainables.metrics.pair_checks import ALIKE, PairMeasures, measure_pair
from trainables.metrics.pair_verdict import judge

PERCENTILES = (0.1, 99.9)
"""Percentiles of HR values between which a pair of a still unknown value range is measured."""

_THREADS = 2

Size = tuple[int, int]


def check_fit(hr: Size, lr: Size, scale: int) -> None:
    """Compares the heights and widths of a pair.

    Raises:
        UnreadableImageError: If HR is not exactly r times as large.
    """
    if hr != (scale * lr[0], scale * lr[1]):
        raise UnreadableImageError(
            f"{hr[1]}×{hr[0]} pixels, not {scale} times the size of its LR image, {lr[1]}×{lr[0]}"
        )


def measured(hr: Raster, lr: Raster, scale: int, low: float, high: float) -> PairMeasures:
    """Measures a pair; gray beside colour counts as three equal bands.

    Args:
        hr: HR image, r times as high and wide as the LR image.
        lr: LR image.
        scale: Scale factor r.
        low: Value that means 0.
        high: Value that means 1.
    """
    shares = [_shares(image, low, high) for image in (hr, lr)]
    bands = max(len(share) for share in shares)
    first, second = (share.expand(bands, -1, -1) if len(share) == 1 else share for share in shares)
    hr_valid, lr_valid = (None if image.valid is None else torch.from_numpy(image.valid) for image in (hr, lr))
    return measure_pair(first, second, scale, hr_valid, lr_valid)


def check_pairs(
    pairs: Sequence[tuple[str, Raster, Raster]], reading: PairReading, pixel_format: PixelFormat, where: str
) -> list[str]:
    """Measures a sample of a set's pairs.

    Args:
        pairs: Name, HR and LR image of each.
        reading: Scale factor, and the corrections that are made.
        pixel_format: What the values mean.
        where: The folder of the HR images.

    Returns:
        Lines on their overlap, displacement, magnification and radiometry, and on faults if these are only reported.

    Raises:
        ImageSetError: If they are wrong and to be refused.
    """
    if not pairs:
        return []
    low, high, scale = pixel_format.low, pixel_format.high, reading.scale
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(lambda pair: measured(pair[1], pair[2], scale, low, high), pairs))
    bands = pixel_format.bands
    if pixel_format == PLAIN and not any(len(measures.slopes) == len(RGB) for measures in found):
        bands = GRAY
    names = [name for name, *_ in pairs]
    verdict = judge(
        dict(zip(names, found, strict=True)), scale, bands, register=reading.registration, radiometry=reading.radiometry
    )
    if verdict.faults and reading.refuse:
        raise ImageSetError(
            f"The pairs of '{where}' do not fit: {'; '.join(verdict.faults)}. Correct the files, set `registration` or "
            "`radiometry` to have them corrected here, or `check: report` to train on them as they are."
        )
    faults = [f"{where}: these pairs do not fit: {fault}" for fault in verdict.faults]
    return [f"{where}: {line}" for line in verdict.lines] + faults


def corrected(hr: Raster, lr: Raster, reading: PairReading, least_side: int) -> tuple[Raster, Raster]:
    """Registers a pair and matches its radiometry, where that is asked for.

    Args:
        hr: HR image, r times as high and wide as the LR image.
        lr: LR image.
        reading: Scale factor and wanted corrections.
        least_side: Least height and width in HR pixels that must be left.

    Raises:
        UnreadableImageError: If the pair cannot be corrected: its images show different things, too little is left, or
            LR is a negative of HR. A pair without contrast stays as it is.
    """
    if not (reading.registration or reading.radiometry):
        return hr, lr
    low, high = _ends(hr)
    found = measured(hr, lr, reading.scale, low, high)
    if found.correlation is not None and (found.correlation < ALIKE or found.shown_scale is not None):
        raise UnreadableImageError("its LR image shows something else, or the same at another scale")
    try:
        if reading.radiometry and found.slopes:
            # LR = a·HR + b on [0, 1], in units of the values.
            lr = matched(lr, *_in_values(found, len(lr.bands), low, high))
        if reading.registration and found.shift is not None:
            hr, lr = registered(hr, lr, reading.scale, found.shift)
    except UsageError as error:
        raise UnreadableImageError(str(error)) from None
    if min(hr.height, hr.width) < least_side:
        raise UnreadableImageError(
            f"{hr.width}×{hr.height} pixels after registration, smaller than the {least_side}×{least_side} needed"
        )
    return _own_arrays(hr), _own_arrays(lr)


def _in_values(
    found: PairMeasures, bands: int, low: float, high: float
) -> tuple[list[float | None], list[float | None]]:
    slopes, offsets = list(found.slopes), list(found.offsets)
    if bands == 1:  # gray that was compared with colour
        slopes, offsets = slopes[:1], offsets[:1]
    return slopes, [
        None if slope is None or offset is None else low * (1 - slope) + offset * (high - low)
        for slope, offset in zip(slopes, offsets, strict=True)
    ]


def _shares(image: Raster, low: float, high: float) -> Tensor:
    values = np.nan_to_num(image.values.astype(np.float64), posinf=high, neginf=low)
    return torch.from_numpy((values.transpose(2, 0, 1) - low) / (high - low))


def _ends(image: Raster) -> tuple[float, float]:
    if image.values.dtype == np.uint8:
        return 0.0, 255.0
    known = image.values if image.valid is None else image.values[image.valid]
    finite = known[np.isfinite(known)]
    low, high = (float(end) for end in np.percentile(finite, PERCENTILES)) if len(finite) else (0.0, 0.0)
    return (low, high) if low < high else (low, low + 1)


def _own_arrays(image: Raster) -> Raster:
    """The image without the rest of arrays that it is a part of."""
    valid = None if image.valid is None or image.valid.all() else np.ascontiguousarray(image.valid)
    return replace(image, values=np.ascontiguousarray(image.values), valid=valid)
