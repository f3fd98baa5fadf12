"""Upscaling of a plain picture, from a file's bytes to those of a PNG or JPEG, with notes on losses."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import UnreadableImageError
from trainables.images.codec import DecodedImage, decode, encode_jpeg, encode_png
from trainables.images.formats import tiff_tags
from trainables.images.metadata import read_metadata
from trainables.inference.prepare import Prepared
from trainables.inference.upscale import upscale, upscale_alpha

_GDAL_NODATA = 42113
_WAY_OUT = "cut it into pieces, or save it as a GeoTIFF, which is upscaled in bounded memory"


@dataclass(frozen=True, slots=True)
class UpscaledPicture:
    """An encoded picture, its number of pixels, and a note for the user on what was lost."""

    data: bytes
    pixels: int
    note: str | None


def upscale_picture(
    data: bytes,
    net: Prepared,
    jpeg: bool,
    tile: int,
    ensemble: bool,
    lock: AbstractContextManager[object],
    available: int | None = None,
) -> UpscaledPicture:
    """Upscales a picture with its transparency, and carries over its metadata.

    Args:
        data: The file.
        net: The network.
        jpeg: Whether the result is a JPEG; PNG otherwise.
        tile: Largest side of a tile in LR pixels.
        ensemble: Whether to average eight flips and rotations.
        lock: Held while the network computes.
        available: Bytes of free memory; None if unknown.

    Raises:
        UnreadableImageError: If it cannot be decoded, is too large, or would lose georeferencing, frames or nodata.
    """
    image = decode(data, keep_alpha=True)
    _check_nothing_lost(image, data)
    _check_memory(image, net.scale, available)
    metadata = read_metadata(data)
    with lock:
        pixels = upscale(net, image.pixels, tile, ensemble)
    height, width, profile = *pixels.shape[:2], image.profile or metadata.profile
    notes = list(metadata.notes)
    if jpeg:
        if image.alpha is not None:
            notes.append("its transparency was dropped, since JPEG has none")
        notes += metadata.lost_in_jpeg()
        result = encode_jpeg(pixels, profile, **metadata.jpeg_options(net.scale, width, height))
    else:
        alpha = None if image.alpha is None else upscale_alpha(image.alpha, net.scale, tile)
        result = encode_png(pixels, alpha, profile, metadata.png_chunks(net.scale, width, height))
    return UpscaledPicture(result, height * width, "; ".join(notes) or None)


def available_memory() -> int | None:
    """Returns the memory in bytes that is available without swapping, within a container's limit; None if unknown."""
    free: list[int] = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError):
        pass
    for folder, most, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            cache = [
                int(line.split()[1])
                for line in Path(folder, "memory.stat").read_text().splitlines()
                if line.startswith(("inactive_file ", "total_inactive_file "))
            ]
            limit, taken = int(Path(folder, most).read_text()), int(Path(folder, used).read_text())
            free.append(limit - taken + max(cache, default=0))
        except (OSError, ValueError, IndexError):
            continue  # no container, or one without a limit
    return max(0, min(free)) if free else None


def _check_nothing_lost(image: DecodedImage, data: bytes) -> None:
    if image.georeferenced:
        raise UnreadableImageError("it is georeferenced, and its place on earth would be lost; --as cog keeps it")
    if image.frames > 1:
        raise UnreadableImageError(
            f"it holds {image.frames} images, and all but the first would be lost; save each as a file"
        )
    if _GDAL_NODATA in tiff_tags(data):
        raise UnreadableImageError("it marks pixels without a value, which would be lost; --as cog keeps them")


def _check_memory(image: DecodedImage, scale: int, available: int | None) -> None:
    """Checks that memory suffices for the result as an array, as the encoder's copy of 4 bytes a pixel, and encoded."""
    bands = image.channels + (image.alpha is not None)
    copies = 1 if bands == 1 else 4
    stacked = 0 if image.alpha is None else bands
    needed = image.height * image.width * scale**2 * (2 * bands + copies + stacked)
    if available is not None and needed > available:
        raise UnreadableImageError(
            f"{image.width}×{image.height} pixels take {needed / 1e9:.1f} GB of memory at ×{scale}, and "
            f"{available / 1e9:.1f} GB are free; {_WAY_OUT}"
        )
