"""A plain loop over tiles, as one writes it in ten minutes, and what it costs: the rival of an archive's scene.

It holds the whole scene and its output in memory, pads its tiles with zeros, lets them overlap by 10 pixels and writes
one uncompressed GeoTIFF without overviews. ``cog`` has GDAL make a Cloud Optimized GeoTIFF of that with the compression
and the overviews of the archive, and reads it back. Memory that is freed is kept, as an archive's workers keep it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import torch
from numpy.typing import NDArray
from torch.nn import functional

from trainables.inference.allocator import keep_freed_memory
from trainables.network import packaged as pretrained

SCALE, OVERLAP = 4, 10
TILES = (128, 256, 512)
Json = dict[str, Any]
Upscale = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def network(precision: str) -> Upscale:
    """`base-x4` in PyTorch, channels last, which is faster than the default order at each tile size."""
    net, _ = pretrained.load("base-x4")
    net, kind = net.to(memory_format=torch.channels_last), getattr(torch, precision)

    def upscale(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind is torch.bfloat16):
            tensor = torch.from_numpy(lr).contiguous(memory_format=torch.channels_last)
            hr: NDArray[np.float32] = net(tensor).float().numpy()
        return hr

    return upscale


def opencv(folder: Path, tile: int) -> Upscale:
    """The same weights in cv2.dnn; antialiased bicubic is no operator of ONNX and stays with torch."""
    import cv2  # of the extra `bench`

    cv2.setNumThreads(1)
    net, _ = pretrained.load("base-x4")
    file, side = folder / "net.onnx", tile + 2 * OVERLAP
    torch.onnx.export(
        torch.nn.Sequential(net.features, net.generator), (torch.zeros(1, 3, side, side),), str(file), dynamo=False
    )
    run = cv2.dnn.readNetFromONNX(str(file))

    def upscale(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        run.setInput(lr)
        base = functional.interpolate(torch.from_numpy(lr), scale_factor=SCALE, mode="bicubic", antialias=True)
        hr: NDArray[np.float32] = run.forward() + base.numpy()
        return hr

    return upscale


def upscale_tiles(lr: NDArray[np.float32], tile: int, upscale: Upscale) -> NDArray[np.uint8]:
    """(C, r·H, r·W) 8-bit output of (C, H, W) in [0, 1]."""
    bands, height, width = lr.shape
    out = np.zeros((bands, height * SCALE, width * SCALE), np.uint8)
    padded = np.pad(lr, ((0, 0), (OVERLAP, OVERLAP + tile), (OVERLAP, OVERLAP + tile)))
    with torch.inference_mode():
        for row in range(0, height, tile):
            for column in range(0, width, tile):
                window = padded[:, row : row + tile + 2 * OVERLAP, column : column + tile + 2 * OVERLAP]
                hr = upscale(np.ascontiguousarray(window)[None])[0]
                hr = hr[:, OVERLAP * SCALE : -OVERLAP * SCALE, OVERLAP * SCALE : -OVERLAP * SCALE]
                place = out[:, row * SCALE : (row + tile) * SCALE, column * SCALE : (column + tile) * SCALE]
                place[:] = (hr.clip(0, 1) * 255).round()[:, : place.shape[1], : place.shape[2]]
    return out


def write(out: NDArray[np.uint8], source: Any, path: Path, cog: bool) -> Path:
    """The output's file; a COG is read back and compared."""
    profile = source.profile
    transform = profile["transform"] @ rasterio.Affine.scale(1 / SCALE)
    profile |= {"width": out.shape[2], "height": out.shape[1], "transform": transform, "compress": None}
    profile.pop("predictor", None)
    raw, final = path.with_name("raw.tif"), path
    with rasterio.open(raw if cog else final, "w", **profile) as target:
        target.write(out)
    if cog:
        rasterio.shutil.copy(
            raw, final, driver="COG", compress="DEFLATE", predictor=2, overview_resampling="average", blocksize=512
        )
        with rasterio.open(final) as written:
            assert np.array_equal(written.read(), out), "the COG differs from what was written"
    return final


def run(scene: Path, folder: Path, options: Json) -> Json:
    """CPU and wall seconds of one scene, imports and loading left out."""
    keep_freed_memory()
    tile = int(options["tile"])
    upscale = opencv(folder, tile) if options["network"] == "cv2" else network(options["precision"])
    cpu, wall = time.process_time(), time.perf_counter()
    with rasterio.open(scene) as source:
        out = upscale_tiles(source.read().astype(np.float32) / 255, tile, upscale)
        file = write(out, source, folder / "out.tif", bool(options["cog"]))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_s": cpu, "wall_s": wall, "megapixels": out[0].size / 1e6, "output_mb": file.stat().st_size / 1e6}
