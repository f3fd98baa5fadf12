"""A source scene: what it is, and its rows as pixels with their footprint.

Every :class:`Scene` is a dataset handle of its own: GDAL's are not safe to share between threads.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from orchestrator.archive.contract import SceneError, SceneFacts
from orchestrator.archive.footprint import valid_samples
from orchestrator.archive.values import DTYPES

_PALETTE_BANDS = 3
GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError)
"""What rasterio raises; a failing copy raises GDAL's own class, which is no RasterioError."""

_OPTIONS = {
    "GDAL_CACHEMAX": 64,
    "GDAL_NUM_THREADS": 1,
    "GDAL_PAM_ENABLED": True,
    "GDAL_TIFF_INTERNAL_MASK": True,
    # Without these two, a PNG or JPEG that is cut short reads as garbage and nothing is said.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": False,
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
}


@contextmanager
def gdal(**options: Any) -> Iterator[None]:
    """GDAL's options for all work on scenes; what is set around it, such as credentials, stays."""
    with rasterio.Env(**{**_OPTIONS, **options}), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@dataclass(frozen=True, slots=True)
class Strip:
    """Some whole rows of a scene.

    Attributes:
        pixels: (image bands, n, W) in the source's data type.
        valid: bool, the same shape; None where every sample has a value.
        alpha: (n, W), transparency.
        mask: bool (n, W), False where the file's mask hides the pixel.
    """

    pixels: NDArray[Any]
    valid: NDArray[np.bool_] | None
    alpha: NDArray[Any] | None
    mask: NDArray[np.bool_] | None

    def joined(self, after: "Strip") -> "Strip":
        """These rows and those that follow."""
        return Strip(*(_joined(getattr(self, name), getattr(after, name)) for name in self.__slots__))

    def rows(self, first: int, last: int) -> "Strip":
        """Some of the rows, counted from this strip's first; views."""
        parts: Iterator[Any] = (getattr(self, name) for name in self.__slots__)
        cut: list[Any] = [None if part is None else part[..., first:last, :] for part in parts]
        return Strip(*cut)


def _joined(one: NDArray[Any] | None, other: NDArray[Any] | None) -> Any:
    return None if one is None or other is None else np.concatenate([one, other], axis=-2)


class Scene:
    """An open source scene.

    Attributes:
        path: Where it is.
        dataset: rasterio's.
        facts: What it is.
        image: Band numbers of what the network sees.
        alpha: Band number of its transparency; None where it has none.
        masked: Whether a mask says which pixels are there.
        nodata: The value of samples without one; None where there is none, or none that its data type can hold.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._last: tuple[int, int, Strip | None] = (0, 0, None)
        try:
            self.dataset = rasterio.open(path, sharing=False)
        except GDAL_ERRORS as error:
            raise SceneError(*_why_not_open(path, error)) from None
        try:
            self._look()
        except BaseException:
            self.dataset.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dataset.close()

    def _look(self) -> None:
        dataset = self.dataset
        if not dataset.count:
            held = len(dataset.subdatasets)
            raise SceneError("unsupported", f"It is a container of {held} datasets and has no bands of its own.")
        dtypes = set(dataset.dtypes)
        if len(dtypes) > 1 or not dtypes <= set(DTYPES):
            raise SceneError(
                "unsupported",
                f"Its data type is {', '.join(sorted(dtypes))}; expected one of {', '.join(DTYPES)} for all bands.",
            )
        colours = dataset.colorinterp
        self.palette = ColorInterp.palette in colours
        alphas = [band for band, colour in enumerate(colours, start=1) if colour == ColorInterp.alpha]
        self.alpha = alphas[-1] if alphas and dataset.dtypes[0] != "float32" else None
        self.image = [band for band in dataset.indexes if band != self.alpha]
        if not self.image:
            raise SceneError("unsupported", "It has no band beside its transparency.")
        if self.palette and dataset.count > 1:
            raise SceneError("unsupported", f"It has a palette and {dataset.count} bands; expected one band.")
        flags = dataset.mask_flag_enums[self.image[0] - 1]
        self.masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        self.nodata = _nodata(dataset.nodata, dataset.dtypes[0])
        placed = not dataset.transform.is_identity or dataset.crs is not None
        self.facts = SceneFacts(
            width=dataset.width,
            height=dataset.height,
            bands=dataset.count,
            dtype=dataset.dtypes[0],
            kind="gcps" if dataset.gcps[0] else "georeferenced" if placed else "rpcs" if dataset.rpcs else "none",
            driver=dataset.driver,
            palette=self.palette,
        )

    @property
    def may_lack_values(self) -> bool:
        """Whether samples without a value are possible at all."""
        return self.nodata is not None or self.masked or self.alpha is not None or self.facts.dtype == "float32"

    @property
    def colours(self) -> list[str]:
        """Colour interpretation of each image band, as the output has it."""
        if self.palette:
            return ["red", "green", "blue"]
        return [self.dataset.colorinterp[band - 1].name for band in self.image]

    def of_image(self, values: Sequence[Any]) -> list[Any]:
        """Those of one value for each band that belong to image bands."""
        if self.palette:
            return [values[0]] * _PALETTE_BANDS
        return [values[band - 1] for band in self.image]

    def strip(self, first: int, last: int) -> Strip:
        """Whole rows ``first`` to ``last``. Rows of the strip before are not read again.

        Raises:
            SceneError: ``corrupt``, if they cannot be decoded.
        """
        start, stop, strip = self._last
        if strip is not None and start <= first <= stop <= last:
            kept = strip.rows(first - start, stop - start)
            strip = kept if stop == last else kept.joined(self._read(stop, last))
        else:
            strip = self._read(first, last)
        self._last = (first, last, strip)
        return strip

    def _read(self, first: int, last: int) -> Strip:
        window = Window(0, first, self.facts.width, last - first)
        try:
            pixels = self.dataset.read(self.image, window=window)
            alpha = None if self.alpha is None else self.dataset.read(self.alpha, window=window)
            mask = self.dataset.read_masks(self.image[0], window=window) > 0 if self.masked else None
        except GDAL_ERRORS as error:
            raise SceneError("corrupt", f"Rows {first} to {last - 1} cannot be read: {_plain(error)}.") from None
        if self.palette:
            return self._coloured(pixels, mask)
        if not self.may_lack_values:
            return Strip(pixels, None, None, None)
        valid = valid_samples(pixels, self.nodata)
        for hidden in (mask, None if alpha is None else alpha > 0):
            if hidden is not None:
                valid &= hidden
        return Strip(pixels, valid, alpha, mask)

    def _coloured(self, indices: NDArray[Any], mask: NDArray[np.bool_] | None) -> Strip:
        """A palette's nodata and fully transparent entries become a mask, since as colours they may recur."""
        table = np.zeros((int(np.iinfo(indices.dtype).max) + 1, 4), np.uint8)
        for index, colour in self.dataset.colormap(1).items():
            table[index] = colour
        shown = table[:, 3] > 0
        if self.nodata is not None:
            shown[int(self.nodata)] = False
        seen = shown[indices[0]] if mask is None else shown[indices[0]] & mask
        pixels = np.moveaxis(table[indices[0], :3], -1, 0)
        return Strip(pixels, np.broadcast_to(seen, pixels.shape), None, seen)


def _nodata(value: float | None, dtype: str) -> float | None:
    if value is None or dtype == "float32":
        return value
    limits = np.iinfo(dtype)
    return value if limits.min <= value <= limits.max and value == int(value) else None


def _why_not_open(path: Path | str, error: Exception) -> tuple[str, str]:
    """Kind and reason; a storage's refusals are in the error's context (rasterio raises one class for all)."""
    cause = type(error.__context__).__name__
    if "AccessDenied" in cause or "SignatureDoesNotMatch" in cause or "InvalidCredentials" in cause:
        return "denied", f"The storage refuses access: {_plain(error)}."
    if "AWSError" in cause or "HttpResponse" in cause:
        return "transient", f"The storage failed: {_plain(error)}."
    local = Path(str(path))
    if "://" not in str(path) and not str(path).startswith("/vsi"):
        if not local.exists():
            return "unreadable", "There is no such file."
        if not local.stat().st_size:
            return "unreadable", "The file is empty."
    return "unreadable", f"It is no raster that can be opened: {_plain(error)}."


def _plain(error: Exception) -> str:
    text = " ".join(str(error.__context__ or error).split()) or type(error).__name__
    return text[:200].rstrip(". ")
