"""Small georeferenced scenes, and one of each kind that a real archive has gone bad with."""

import zlib
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin

BAD = {
    "cut.tif": "corrupt",
    "flipped.tif": "corrupt",
    "half-a-picture.png": "corrupt",
    "half-a-photo.jpg": "corrupt",
    "empty.tif": "unreadable",
    "not-a-raster.tif": "unreadable",
    "palette.tif": "unsupported",
    "doubles.tif": "unsupported",
    "unknown-range.tif": "normalisation",
}


def write(path: Path, size: tuple[int, int] = (24, 32), bands: int = 3, dtype: str = "uint8") -> Path:
    """A scene of (height, width) whose pixels depend on its name alone."""
    noise = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 256, (bands, *size), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 10, 10)}
    kind = {"driver": "GTiff", "count": bands, "dtype": dtype, "compress": "deflate"}
    with rasterio.open(path, "w", height=size[0], width=size[1], **place, **kind) as scene:
        scene.write(noise.astype(dtype))
    return path


def write_many(folder: Path, count: int, size: tuple[int, int] = (24, 32)) -> list[Path]:
    """Good scenes in two folders."""
    return [write(folder / f"{'east' if i % 2 else 'west'}/scene-{i:04}.tif", size) for i in range(count)]


def write_bad(folder: Path, name: str) -> None:
    """One of :data:`BAD`; a number may follow its stem. Pictures are scenes where all images are asked for as such."""
    kind = next(kind for kind in BAD if name.startswith(Path(kind).stem))
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "empty.tif":
        path.write_bytes(b"")
    elif kind == "not-a-raster.tif":
        path.write_text("<html>404 Not Found</html>")
    elif kind == "unknown-range.tif":
        write(path, dtype="float32")
    elif kind == "palette.tif":
        write(path, bands=1)
        with rasterio.open(path, "r+") as scene:
            scene.write_colormap(1, {value: (value, 0, 0, 255) for value in range(256)})
    elif kind == "doubles.tif":
        write(path, dtype="float64")
    elif kind == "flipped.tif":
        write(path, (96, 96))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    elif kind.startswith("half"):
        pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        write(path, (96, 96))
        path.write_bytes(path.read_bytes()[:-5000])
