"""Conversion of raw pixels to a verified Cloud-Optimised GeoTIFF.

Overviews are made on the raw file, where that is cheap, and copied; GDAL's COG driver alone takes 2.6 times as long.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio.enums import Resampling

from orchestrator.archive.scene.geotiff.bigtiff import check_extents, same_pixels, writing
from orchestrator.archive.scene.geotiff.tags import has_own_namespaces
from orchestrator.archive.scene.reader import GDAL_ERRORS
from orchestrator.archive.scene.types import SceneError, SceneSettings


def add_overviews(path: Path, blocksize: int, resampling: Resampling = Resampling.average) -> None:
    """Adds averages, or what ``resampling`` makes, of 2×2, 4×4, … pixels until one internal tile holds all.

    Raises:
        SceneError: ``disk``.
    """
    with writing(path):
        with rasterio.open(path, "r+") as raw:
            factors: list[int] = []
            while max(raw.width, raw.height) > blocksize * 2 ** len(factors):
                factors.append(2 ** (len(factors) + 1))
            if factors:
                raw.build_overviews(factors, resampling)
        with rasterio.open(path) as raw:
            check_extents(raw, path)


def copy_as_cog(raw: Path, target: Path, settings: SceneSettings) -> None:
    """Writes the compressed copy.

    Args:
        raw: With its overviews.
        target: Replaced if there.
        settings: Compression, size of internal tiles, threads.

    Raises:
        SceneError: ``disk``.
    """
    with writing(target):
        with rasterio.open(raw) as source:
            own = has_own_namespaces(source)
        rasterio.shutil.copy(
            raw,
            target,
            driver="COG",
            compress=settings.compression.upper(),
            level=1,
            predictor="YES",
            blocksize=settings.blocksize,
            overviews="FORCE_USE_EXISTING" if settings.overviews else "NONE",
            num_threads=settings.threads,
            bigtiff="IF_SAFER",
            # Else tags in namespaces of their own are lost; with it, those of single bands are.
            copy_src_mdd="YES" if own else "AUTO",
        )


def verify(cog: Path, raw: Path, settings: SceneSettings) -> None:
    """Decodes every pixel and compares it with the raw file.

    Raises:
        SceneError: ``verification``, or ``disk`` where tiles are missing.
    """
    try:
        with rasterio.open(cog) as written, rasterio.open(raw) as meant:
            check_extents(written, cog)
            same = same_pixels(meant, written, settings.blocksize)
            for level in range(len(written.overviews(1))):
                with rasterio.open(cog, overview_level=level) as a, rasterio.open(raw, overview_level=level) as b:
                    same = same and same_pixels(b, a, settings.blocksize)
    except GDAL_ERRORS as error:
        raise SceneError("verification", f"The output cannot be decoded: {' '.join(str(error).split())}.") from None
    if not same:
        raise SceneError("verification", "The output decodes to other pixels than were computed; try again.")


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to, which takes its place at the end; removed after an error.

    Raises:
        SceneError: ``disk``.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with writing(path):
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
