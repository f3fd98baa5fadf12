"""Files beside an image: their names are those that GDAL looks for."""

import numpy as np
import pytest
import rasterio
from PIL import Image

from orchestrator.foundation.sidecars import ENDINGS, names_beside, world_endings

WORLD = "10.0\n0.0\n0.0\n-10.0\n500005.0\n4999995.0\n"


@pytest.mark.parametrize("ending", [".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"])
def test_world_files_are_those_that_gdal_reads(ending, tmp_path):
    for world in world_endings(ending):
        folder = tmp_path / world
        folder.mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / f"x{ending}")
        (folder / f"x{world}").write_text(WORLD)
        with rasterio.open(folder / f"x{ending}") as dataset:
            assert tuple(dataset.transform)[:6] == (10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0), world
        assert f"x{world}" in names_beside(f"x{ending}")
        assert world in ENDINGS


def test_a_name_without_an_ending_has_the_general_world_file():
    assert world_endings("") == (".wld",)
    assert names_beside("x") == ["x.aux.xml", "x.aux.xml", "x.wld", "x.points"]
