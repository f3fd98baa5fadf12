"""Some rows of a scene through the network into a raw TIFF, cell by cell.

A cell is a part of the output that is written at once: whole internal tiles. It consists of one or more tiles of the
network, all of one shape. Memory holds one strip of LR rows and one cell, independent of the scene's size.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.windows import Window

from orchestrator.archive.scene.band_map import Group, batches
from orchestrator.archive.scene.band_roles import Meaning
from orchestrator.archive.scene.geotiff.bigtiff import create_raw, writing
from orchestrator.archive.scene.nodata import enlarged, enlarged_alpha, filled, nudge
from orchestrator.archive.scene.reader import Scene, Strip
from orchestrator.archive.scene.types import LoadedModel, Observer, PartFacts, Rows, SceneError, SceneSettings, TileView
from orchestrator.archive.scene.value_range import Normalisation
from orchestrator.archive.scene.values.network import apply_network, halo_of, limits_of_values
from trainables.inference.downscaling import Downscaling, downscaling_of
from trainables.inference.tiling import SMALLEST_TILE, Grid, Tile, cut, rows_needed
from trainables.inference.working_memory import pixels_within, tile_within

_LARGEST_CELL = 2**28
"""Bytes of a cell, in all bands."""


class _OutOfMemoryError(Exception):
    pass


@dataclass
class _Tally:
    """Statistics collected while pixels pass."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "model", "write"), 0.0))
    valid: int = 0
    samples: int = 0
    minimum: list[float | None] = field(default_factory=list)
    maximum: list[float | None] = field(default_factory=list)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] += time.perf_counter() - start

    def add(self, hr: NDArray[Any], valid: NDArray[np.bool_] | None, lr_samples: int, scale: int) -> None:
        self.samples += lr_samples
        self.valid += lr_samples if valid is None else int(np.count_nonzero(valid))
        for band, pixels in enumerate(hr):
            seen = pixels if valid is None else pixels[enlarged(valid[band], scale)]
            if seen.size:
                self.minimum[band] = _extreme(min, self.minimum[band], seen.min())
                self.maximum[band] = _extreme(max, self.maximum[band], seen.max())


def _extreme(which: Any, known: float | None, found: Any) -> float:
    return float(found) if known is None else which(known, float(found))


@dataclass
class Worker:
    """Computes cells of one scene; its tiles become smaller when memory runs out.

    Attributes:
        scene: The open source.
        model: The network.
        groups: Image bands that the network sees together.
        norm: The values that mean 0 and 1.
        cells: Cells that the scene is cut into for writing.
        tile: Largest side of a tile.
        downscaling: How the output is downscaled for back-projection; None for none.
        named: Positions of bands whose names are known, by name, for measurements.
        pixels_at_once: LR pixels, in all bands of a batch, that the network may see at once.
    """

    scene: Scene
    model: LoadedModel
    groups: tuple[Group, ...]
    norm: Normalisation
    cells: Grid
    tile: int
    downscaling: Downscaling | None
    named: Mapping[str, int]
    pixels_at_once: int

    def grid(self, rows: int, columns: int) -> Grid:
        """Grid of tiles that a cell is cut into."""
        return Grid.of(rows, columns, self.tile, self.halo)

    @property
    def halo(self) -> int:
        """LR pixels beside a tile that its output depends on."""
        return halo_of(self.model.net.radius, self.downscaling)

    @property
    def margin(self) -> int:
        """LR pixels beside a tile that are read: the halo, and those that are needed to fill it."""
        return (2 if self.scene.may_lack_values else 1) * self.halo

    def strip_for(self, row: int) -> tuple[int, Strip]:
        """The rows of the scene that one row of cells needs, and the first one's number."""
        first, last = rows_needed(row - self.margin, self.cells.rows + 2 * self.margin, self.scene.facts.height)
        return first, self.scene.strip(first, last)

    def compute(self, cell: Tile, first: int, strip: Strip, tally: _Tally, observe: Observer | None) -> NDArray[Any]:
        """The image bands of a cell, (bands, r·h, r·w), with nodata in its place."""
        r = self.model.net.scale
        out = np.empty((len(self.norm.low), cell.rows * r, cell.columns * r), self.scene.facts.dtype)
        while True:
            grid = self.grid(self.cells.rows, self.cells.columns)
            try:
                for tile in grid.tiles():
                    if tile.row < cell.rows and tile.column < cell.columns:
                        self._tile(cell, tile, grid, first, strip, out, tally)
                break
            except _OutOfMemoryError:
                self.tile = min(self.tile, max(grid.rows, grid.columns)) // 2
                if self.tile < SMALLEST_TILE:
                    raise SceneError(
                        "memory", f"Even tiles of {SMALLEST_TILE} pixels do not fit into memory; give it more."
                    ) from None
        lr, valid = self._core(cell, first, strip)
        tally.add(out, valid, lr.size, r)
        if observe is not None:
            observe(self._view(cell, first, strip, lr, valid, out))
        return out

    def _view(
        self,
        cell: Tile,
        first: int,
        strip: Strip,
        lr: NDArray[Any],
        valid: NDArray[np.bool_] | None,
        out: NDArray[Any],
    ) -> TileView:
        place = cell.row - 1, cell.column - 1, cell.rows + 2, cell.columns + 2, self.scene.facts.height, first
        return TileView(
            row=cell.row,
            column=cell.column,
            lr=lr,
            hr=out,
            valid=np.ones(lr.shape, bool) if valid is None else valid,
            low=self.norm.low,
            high=self.norm.high,
            around=cut(strip.pixels, *place),
            around_valid=None if strip.valid is None else cut(strip.valid, *place),
            named=self.named,
            seen=tuple(band for group in self.groups for band in group),
        )

    def _core(self, cell: Tile, first: int, strip: Strip) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        rows = slice(cell.row - first, cell.row - first + cell.rows)
        columns = slice(cell.column, cell.column + cell.columns)
        valid = None if strip.valid is None else strip.valid[:, rows, columns]
        return strip.pixels[:, rows, columns], None if valid is None or valid.all() else valid

    def _tile(
        self, cell: Tile, tile: Tile, grid: Grid, first: int, strip: Strip, out: NDArray[Any], tally: _Tally
    ) -> None:
        r, halo, margin = self.model.net.scale, self.halo, self.margin
        row, column = cell.row + tile.row, cell.column + tile.column
        rows, columns = min(tile.rows, cell.rows - tile.row), min(tile.columns, cell.columns - tile.column)
        place = slice(tile.row * r, (tile.row + rows) * r), slice(tile.column * r, (tile.column + columns) * r)
        whole = grid.rows + 2 * margin, grid.columns + 2 * margin

        def window(of: NDArray[Any]) -> NDArray[Any]:
            return cut(of, row - margin, column - margin, *whole, self.scene.facts.height, first)

        lr = window(strip.pixels)
        source = lr[:, margin : margin + rows, margin : margin + columns]
        valid = None if strip.valid is None else window(strip.valid)
        lost = None if valid is None else self._lost(valid, strip, window, rows, columns)
        if not self.groups or (lost is not None and lost.all()):
            out[:, *place] = enlarged(source, r)
            return
        if valid is not None:
            inner = slice(margin - halo, margin + grid.rows + halo), slice(margin - halo, margin + grid.columns + halo)
            lr = (filled(lr, valid, halo) if not valid.all() else lr)[:, *inner]
        with tally.timed("model"):
            for bands, singly in batches(self.groups, self.pixels_at_once // (lr.shape[1] * lr.shape[2])):
                self._upscale(lr[bands], bands, out[:, *place], singly)
        for band in self.scene.repeated:
            out[band, *place] = enlarged(source[band], r)
        if lost is not None:
            nudge(out[:, *place], self.scene.nodata)
            if lost.any():
                lost = enlarged(lost, r)
                out[:, *place][lost] = enlarged(source, r)[lost]

    def _lost(
        self,
        valid: NDArray[np.bool_],
        strip: Strip,
        window: Callable[[NDArray[Any]], NDArray[Any]],
        rows: int,
        columns: int,
    ) -> NDArray[np.bool_]:
        """Mask of samples in a tile's core that get back the source's values."""
        margin = self.margin
        lost = ~valid[:, margin : margin + rows, margin : margin + columns]
        if strip.alpha is not None and self.scene.nodata is None and not self.scene.masked:
            lost &= ~_shown_beside(window(strip.alpha), margin, rows, columns)
        return lost

    def _upscale(self, lr: NDArray[Any], bands: list[int], out: NDArray[Any], singly: bool) -> None:
        """Some bands, (c, h + 2H, w + 2H) source values with a halo of H, into those of ``out``."""
        low, span = self.norm.low[bands], (self.norm.high - self.norm.low)[bands]
        limits = limits_of_values(out.dtype.name, self.scene.nodata)
        try:
            apply_network(self.model.net, lr, low, span, out, bands, self.downscaling, limits, singly)
        except (RuntimeError, MemoryError) as error:
            if _is_out_of_memory(error):
                raise _OutOfMemoryError from None
            raise


def _shown_beside(alpha: NDArray[Any], margin: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """Mask of pixels next to one that is not transparent: interpolation lets them be seen, so they keep their fill."""
    shown = alpha[margin - 1 : margin + rows + 1, margin - 1 : margin + columns + 1] > 0
    lines = shown[:-2] | shown[1:-1] | shown[2:]
    return lines[:, :-2] | lines[:, 1:-1] | lines[:, 2:]


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "out of memory" in text or "allocate memory" in text
    )


def make_worker(scene: Scene, model: LoadedModel, meaning: Meaning, settings: SceneSettings) -> Worker:
    """Chooses tiles that fit the budget, and cells.

    Raises:
        SceneError: ``memory``, if the budget is too small for any.
    """
    net, facts, norm = model.net, scene.facts, meaning.norm
    downscaling = downscaling_of(settings.back_project, model.facts.decimation)
    halo = halo_of(net.radius, downscaling)
    tile = tile_within(settings.memory_mb * 2**20, model.bytes_per_pixel, halo)
    if tile < SMALLEST_TILE:
        raise SceneError(
            "memory",
            f"Not even tiles of {SMALLEST_TILE} pixels fit into memory_mb {settings.memory_mb}; give it more.",
        )
    step = settings.row_step(net.scale)
    # A cell is in memory in all bands.
    side = int((_LARGEST_CELL / (len(norm.low) * np.dtype(facts.dtype).itemsize)) ** 0.5) // net.scale
    cells = Grid.of(facts.height, facts.width, max(min(tile, side), step), halo, step)
    pixels = pixels_at_once(model, settings)
    return Worker(scene, model, meaning.groups, norm, cells, tile, downscaling, meaning.named, pixels)


def pixels_at_once(model: LoadedModel, settings: SceneSettings) -> int:
    """As many as memory allows on a GPU; on CPUs those of one band, where a batch takes as long, and more memory."""
    return pixels_within(settings.memory_mb * 2**20, model.bytes_per_pixel) if model.net.device.type == "cuda" else 0


def upscale_rows(
    worker: Worker, rows: Rows, path: Path, settings: SceneSettings, observe: Observer | None
) -> PartFacts:
    """Computes the cells of some rows and writes them.

    Raises:
        SceneError: ``corrupt``, ``memory`` or ``disk``.
    """
    scene, r = worker.scene, worker.model.net.scale
    bands = len(worker.norm.low)
    tally = _Tally(minimum=[None] * bands, maximum=[None] * bands)
    first, last = rows
    with create_raw(path, scene, r, last - first, settings) as target:
        for row in range(first, last, worker.cells.rows):
            with tally.timed("read"):
                start, strip = worker.strip_for(row)
            for cell in worker.cells.tiles(row, min(row + worker.cells.rows, last)):
                pixels = worker.compute(cell, start, strip, tally, observe)
                with tally.timed("write"), writing(path):
                    _write_cell(target, scene, cell, first, r, pixels, start, strip)
    grid = worker.grid(worker.cells.rows, worker.cells.columns)
    return PartFacts(
        path=path,
        rows=rows,
        tile=(grid.rows, grid.columns),
        halo=worker.halo,
        seconds={phase: round(seconds, 4) for phase, seconds in tally.seconds.items()},
        valid=tally.valid,
        samples=tally.samples,
        minimum=tally.minimum,
        maximum=tally.maximum,
    )


def _write_cell(
    target: "rasterio.io.DatasetWriter",
    scene: Scene,
    cell: Tile,
    first: int,
    r: int,
    pixels: NDArray[Any],
    start: int,
    strip: Strip,
) -> None:
    height, columns = scene.facts.height, slice(cell.column, cell.column + cell.columns)
    window = Window(cell.column * r, (cell.row - first) * r, cell.columns * r, cell.rows * r)
    rows = slice(cell.row - start, cell.row - start + cell.rows)
    if strip.alpha is not None and scene.alpha is not None:
        around = cut(strip.alpha, cell.row - 1, cell.column - 1, cell.rows + 2, cell.columns + 2, height, start)
        alpha = enlarged_alpha(around, r)
        pixels = np.insert(pixels, scene.alpha - 1, alpha, axis=0)
    target.write(pixels, window=window)
    if strip.mask is not None:
        target.write_mask(enlarged(strip.mask[rows, columns], r).astype(np.uint8) * 255, window=window)
