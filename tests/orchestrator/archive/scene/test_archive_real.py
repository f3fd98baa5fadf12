"""Real GeoTIFFs, where they lie beside the repository."""

import os
from pathlib import Path

import archive_scenes as scenes
import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from orchestrator.archive.scene.nodata import enlarged
from orchestrator.archive.scene.types import SceneError, SceneSettings
from orchestrator.archive.scene.upscale import check_scene

FOLDER = Path(os.environ.get("TEST_GEOTIFFS") or Path(__file__).parents[5] / "shared/data/geotiff")


def real(name):
    if not (FOLDER / name).is_file():
        pytest.skip(f"there is no {FOLDER / name}; name a folder in TEST_GEOTIFFS")
    return FOLDER / name


def test_landsat_of_eight_bands(tmp_path):
    source = real("LE70220491999322EDC01_stack.tif")
    with pytest.raises(SceneError, match="Give a normalisation"):
        check_scene(source, scenes.model().facts, SceneSettings())
    out = scenes.run(source, tmp_path, SceneSettings(normalisation=(0.0, 10000.0)))
    assert cog_validate(out.path, strict=True)[0]
    with rasterio.open(source) as lr, rasterio.open(out.path) as hr:
        assert hr.bounds == lr.bounds
        assert hr.descriptions == lr.descriptions
        np.testing.assert_array_equal(hr.read() == -9999, enlarged(lr.read() == -9999, 4))


def test_a_map_of_classes_is_refused():
    with pytest.raises(SceneError, match="indices of a palette"):
        check_scene(real("cog_cmap.tif"), scenes.model().facts, SceneSettings())
