"""Generated scenes and the shortest way to upscale one."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import rasterio
import tiny_models
from affine import Affine
from rasterio.enums import ColorInterp

from orchestrator.archive.scene.reader import gdal
from orchestrator.archive.scene.types import Provenance, SceneSettings
from orchestrator.archive.scene.upscale import finish_scene, load_model, part_rows, upscale_part, upscale_scene
from orchestrator.foundation.model_store import FoundModel

PLACE = Affine(30.0, 0, 500000, 0, -30.0, 5000000)


@cache
def model(scale=4):
    """A tiny network, loaded."""
    return model_with(scale)


def model_with(scale=4, **card):
    """The same with further facts on its card."""
    return _loaded(tiny_models.net(scale), card)


REFLECTANCE = ("red", "green", "blue", "nir")


@cache
def model_of_four_bands(scale=4):
    """A tiny network for red, green, blue and near infrared, whose card says all that scenes of 16 bits need."""
    card = {"band_names": REFLECTANCE, "band_map": {"4": [[1, 2, 3, 4]]}, "value_range": {"uint16": [0, 10000]}}
    return _loaded(tiny_models.of_bands(*REFLECTANCE, scale=scale), card)


def _loaded(net, card):
    found = FoundModel("tiny", {}, net, {"sha256": f"tiny-{net.architecture.scale}", **card})
    return load_model(found, SceneSettings(precision="float32"))


def pixels(bands, height, width, dtype="uint8", seed=0):
    """Values that fill most of the range that a scene of the type has."""
    low, high = {"uint8": (0, 256), "uint16": (0, 10000), "int16": (-1000, 9000), "float32": (0, 10000)}[dtype]
    values = np.random.default_rng(seed).integers(low, high, (bands, height, width))
    return (values / 10000 if dtype == "float32" else values).astype(dtype)


def write(path, values, *, crs="EPSG:32633", transform=PLACE, colours=None, names=None, **facts):
    """A GeoTIFF."""
    bands, height, width = values.shape
    profile = {"count": bands, "height": height, "width": width, "dtype": values.dtype.name}
    with gdal(), rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **profile, **facts) as target:
        if colours:
            target.colorinterp = [ColorInterp[colour] for colour in colours]
        if names:
            target.descriptions = names
        target.write(values)
    return path


def run(source, folder, settings=None, parts=1, name="out.tif", scale=4, made=None, observe=None):
    """Upscales in one part or several; gives the output and what was said of it."""
    settings = settings or SceneSettings(blocksize=128)
    made = made or model(scale)
    provenance = Provenance(item_id="scene", source=str(source))
    if parts == 1:
        return upscale_scene(source, folder / name, folder, made, settings, provenance, observe)
    from orchestrator.archive.scene.upscale import describe_scene

    rows = part_rows(describe_scene(source), scale, settings, parts)
    done = [upscale_part(source, each, folder / f"part-{each[0]}.tif", made, settings) for each in rows]
    return finish_scene(source, done[::-1], folder / name, made.facts, settings, provenance)


def read(path):
    """All bands of a file."""
    with gdal(), rasterio.open(path) as source:
        return source.read()


def files(folder: Path):
    """Names of what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def plain(item):
    """Whether JSON holds it all."""
    return json.loads(json.dumps(item)) == item
