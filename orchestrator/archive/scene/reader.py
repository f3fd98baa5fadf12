"""A source scene: its facts, and its rows as pixels with their footprint.

Every :class:`Scene` is a dataset handle of its own: GDAL's are not safe to share between threads.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from orchestrator.archive.scene.nodata import valid_samples
from orchestrator.archive.scene.open_raster import GDAL_ERRORS, gdal, open_raster, plain
from orchestrator.archive.scene.sample_format import encoding_of
from orchestrator.archive.scene.samples import Sample
from orchestrator.archive.scene.size_limits import Header, check_header
from orchestrator.archive.scene.strips import Strip, tidy_limits, unpremultiplied, usable_nodata
from orchestrator.archive.scene.types import DTYPES, Rows, SceneError, SceneFacts

__all__ = ["GDAL_ERRORS", "Scene", "Strip", "gdal"]

_PALETTE_BANDS = 3
_SAMPLES, _SAMPLE = 4, 96
"""Windows per side of a scene, and their side in pixels, for a sample of its values."""


class Scene:
    """An open source scene; rows and columns are as displayed, that is after the file's orientation is applied.

    Attributes:
        path: Its path.
        dataset: rasterio's.
        facts: Facts from its header.
        encoding: Encoding of its samples.
        image: Band numbers of what the network sees or what is repeated.
        alpha: Band number of its transparency; None where it has none.
        masked: True if a mask marks the pixels that exist.
        nodata: The value of samples without one; None where there is none, or none that its data type can hold.
        palette: True if its one band holds indices of colours.
        bits: Bits of its samples, where these are fewer than its data type has.
        repeated: Positions among the image bands of those that are repeated instead of filtered, with the reason; set
            by :meth:`repeat`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._last: tuple[int, int, Strip | None] = (0, 0, None)
        self.repeated: dict[int, str] = {}
        with ExitStack() as stack:
            self.dataset = stack.enter_context(open_raster(path))
            self._look()
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _look(self) -> None:
        dataset = self.dataset
        if not dataset.count:
            held = len(dataset.subdatasets)
            raise SceneError("unsupported", f"It is a container of {held} datasets and has no bands of its own.")
        dtypes = set(dataset.dtypes)
        if len(dtypes) > 1 or not dtypes <= set(DTYPES):
            raise SceneError(
                "unsupported",
                f"Its data type is {', '.join(sorted(dtypes))}; expected one of {', '.join(DTYPES)} for all bands. "
                "Convert it, for instance by gdal_translate -ot Float32.",
            )
        dtype = dataset.dtypes[0]
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        check_header(
            Header(
                width=dataset.width,
                height=dataset.height,
                bands=dataset.count,
                dtype=dtype,
                block=dataset.block_shapes[0],
                interleaved=structure.get("INTERLEAVE") == "PIXEL",
                size=None if str(self.path).startswith("/vsimem/") else Path(self.path).stat().st_size,
            )
        )
        self.encoding = encoding_of(self.path, dataset)
        # Once: rasterio asks GDAL for every band each time.
        colours = self._interpreted = dataset.colorinterp
        bits = int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 0))
        self.bits = bits if dtype != "float32" and 0 < bits < 8 * np.dtype(dtype).itemsize else None
        placed = not dataset.transform.is_identity or dataset.crs is not None
        kind = "gcps" if dataset.gcps[0] else "georeferenced" if placed else "rpcs" if dataset.rpcs else "none"
        self._gray = self._levels(kind != "none", structure.get("MINISWHITE") == "YES")
        # GDAL shows gray of few bits as a palette; on a map, one bit is a flag and its two colours are kept.
        flags = kind != "none" and self.bits == 1
        self.palette = ColorInterp.palette in colours and self._gray is None and (flags or not self.encoding.gray)
        alphas = [band for band, colour in enumerate(colours, start=1) if colour == ColorInterp.alpha]
        self.alpha = alphas[-1] if alphas and dtype != "float32" and not self.encoding.opaque else None
        hidden = alphas if self.encoding.opaque else [self.alpha]
        self.image = [band for band in dataset.indexes if band not in hidden]
        if not self.image:
            raise SceneError("unsupported", "It has no band beside its transparency.")
        if self.palette and dataset.count > 1:
            raise SceneError("unsupported", f"It has a palette and {dataset.count} bands; expected one band.")
        masks = dataset.mask_flag_enums[self.image[0] - 1]
        self.masked = MaskFlags.per_dataset in masks and MaskFlags.alpha not in masks
        self._stored_nodata = usable_nodata(dataset.nodata, dtype)
        self.nodata = self._stored_nodata
        if self._gray is not None and self.nodata is not None:
            self.nodata = float(self._gray[int(self.nodata)])
        self._turned = self.encoding.orientation if kind == "none" else 1
        width, height = dataset.width, dataset.height
        if self._turned != 1 and self.encoding.transposed:
            width, height = height, width
        self.facts = SceneFacts(
            width=width,
            height=height,
            bands=dataset.count,
            dtype=dtype,
            kind=kind,  # type: ignore[arg-type]
            driver=dataset.driver,
            palette=self.palette,
        )

    def _levels(self, placed: bool, white_is_zero: bool) -> NDArray[np.uint8] | None:
        """The gray level of each stored value, if it differs: with few bits, or white as 0."""
        dataset = self.dataset
        if white_is_zero and dataset.dtypes[0] != "uint8":
            raise SceneError(
                "unsupported", f"Its white is 0 (MinIsWhite) in {dataset.dtypes[0]}; turn it round, or make it 8-bit."
            )
        if placed and self.bits == 1:
            return None
        shown = {ColorInterp.gray} if dataset.count == 1 else {ColorInterp.red, ColorInterp.green, ColorInterp.blue}
        pictured = self.encoding.gray or set(self._interpreted) == shown
        few = dataset.dtypes[0] == "uint8" and self.bits is not None and not placed and pictured
        if not (white_is_zero or few):
            return None
        most = 2 ** (self.bits or 8) - 1
        levels = np.minimum(np.arange(256), most)
        levels = levels if placed else levels * 255 // most
        table: NDArray[np.uint8] = (levels.max() - levels if white_is_zero else levels).astype(np.uint8)
        return table

    @property
    def placed(self) -> bool:
        """True if it states the location of its pixels on earth."""
        return self.facts.kind != "none"

    @property
    def notes(self) -> list[str]:
        """Notes on parts of the file that are converted or left out on reading."""
        notes = list(self.encoding.notes)
        if self.encoding.orientation != 1:
            done = "was applied" if self._turned != 1 else "was left out, since its place refers to the rows as stored"
            notes.append(f"its orientation ({self.encoding.orientation}) {done}")
        if self._associated:
            notes.append("colours were multiplied by alpha and no longer are")
        if self._gray is not None:
            if self._gray[0]:
                notes.append(f"its white was 0 (MinIsWhite) and is {self._gray[0]}")
            if self.bits is not None and not self.placed:
                notes.append(f"{self.bits}-bit values became 8-bit values of the same shades")
        for reason in dict.fromkeys(self.repeated.values()):
            bands = [str(self.image[band]) for band, why in self.repeated.items() if why == reason]
            which = "all bands were" if len(bands) == len(self.image) else f"bands {', '.join(bands)} were"
            notes.append(f"{which} repeated, not filtered, as classes or flags ({reason})")
        return notes

    @property
    def _associated(self) -> bool:
        return self.encoding.associated and self.alpha is not None

    @property
    def written(self) -> list[int]:
        """Numbers of the bands that an output has, unless its palette is expanded."""
        return sorted(self.image if self.alpha is None else [*self.image, self.alpha])

    @property
    def expanded(self) -> bool:
        """True if its palette becomes colours."""
        return self.palette and not self.repeated

    def repeat(self, reasons: Mapping[int, str]) -> None:
        """Sets which image bands are repeated, and why."""
        self.repeated = dict(reasons)
        self._last = (0, 0, None)

    @property
    def may_lack_values(self) -> bool:
        """True if samples without a value are possible at all."""
        return self.nodata is not None or self.masked or self.alpha is not None or self.facts.dtype == "float32"

    @property
    def colours(self) -> list[str]:
        """Colour interpretation of each image band, as the output has it."""
        if self.expanded:
            return ["red", "green", "blue"]
        if len(self.image) == 1 and (self._gray is not None or (self.encoding.gray and not self.palette)):
            return ["gray"]
        return [self._interpreted[band - 1].name for band in self.image]

    def of_image(self, values: Sequence[Any]) -> list[Any]:
        """Those of one value for each band that belong to image bands."""
        if self.expanded:
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

    def samples(self) -> list[Sample]:
        """Windows all over the scene as stored, each (bands, h, w).

        Windows that cannot be read are left out; reading the rows names what is wrong.
        """
        windows, dataset = [], self.dataset
        for row in _spread(dataset.height):
            for column in _spread(dataset.width):
                window = Window(column[0], row[0], column[1], row[1])
                try:
                    pixels = dataset.read(self.image, window=window)
                    valid = valid_samples(pixels, self._stored_nodata) if self.may_lack_values else None
                    if valid is not None and (self.masked or self.alpha is not None):
                        valid &= dataset.read_masks(self.image[0], window=window) > 0
                except GDAL_ERRORS:
                    continue
                windows.append((pixels, valid))
        return windows

    def window(self, row: int, column: int, height: int, width: int) -> Strip:
        """A rectangle of pixels, whose strip has ``height`` rows and ``width`` columns.

        Raises:
            SceneError: ``corrupt``, if they cannot be decoded.
        """
        return self._read(row, row + height, (column, column + width))

    def _stored(self, bands: Any, rows: Rows, columns: Rows, masks: bool = False) -> NDArray[Any]:
        """Pixels of the scene as shown, of one band or several, from wherever they are stored."""
        read = self.dataset.read_masks if masks else self.dataset.read
        if self._turned == 1:
            upright: NDArray[Any] = read(bands, window=_window(rows, columns))
            return upright
        upside, sideways = self.encoding.mirrored
        if upside:
            rows = self.facts.height - rows[1], self.facts.height - rows[0]
        if sideways:
            columns = self.facts.width - columns[1], self.facts.width - columns[0]
        if self.encoding.transposed:
            stored = read(bands, window=_window(columns, rows)).swapaxes(-1, -2)
        else:
            stored = read(bands, window=_window(rows, columns))
        turned = stored[..., :: -1 if upside else 1, :: -1 if sideways else 1]
        return np.ascontiguousarray(turned)

    def _read(self, first: int, last: int, columns: Rows | None = None) -> Strip:
        rows, columns = (first, last), columns or (0, self.facts.width)
        try:
            pixels = self._stored(self.image, rows, columns)
            alpha = None if self.alpha is None else self._stored(self.alpha, rows, columns)
            mask = self._stored(self.image[0], rows, columns, masks=True) > 0 if self.masked else None
        except GDAL_ERRORS as error:
            raise SceneError("corrupt", f"Rows {first} to {last - 1} cannot be read: {plain(error)}.") from None
        if self.expanded:
            return self._coloured(pixels, mask)
        if self._gray is not None:
            pixels = self._gray[pixels]
        if not self.may_lack_values:
            return Strip(pixels, None, None, None)
        if self.facts.dtype == "float32" and self.nodata is not None:
            tidy_limits(pixels, self.nodata)
        valid = valid_samples(pixels, self.nodata)
        for hidden in (mask, None if alpha is None else alpha > 0):
            if hidden is not None:
                valid &= hidden
        if self._associated and alpha is not None:
            pixels = unpremultiplied(pixels, alpha)
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


def _window(rows: Rows, columns: Rows) -> Window:
    return Window(columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0])


def _spread(length: int) -> list[tuple[int, int]]:
    """First pixel and length of a few windows all along a line; one where that is no more."""
    if length <= _SAMPLES * _SAMPLE:
        return [(0, length)]
    return [(round(k * (length - _SAMPLE) / (_SAMPLES - 1)), _SAMPLE) for k in range(_SAMPLES)]
