"""Time left follows pixels, which headers tell, and not compressed bytes."""

import io
from dataclasses import replace

import archive_scenes
import numpy as np
import pytest
from fake_s3 import install

from orchestrator.archive.batch.scene_sizes import SceneSizes, read_samples
from orchestrator.archive.places.listing import Scene

BIG = Scene("big.tif", "/in/big.tif", "1-1", 100, 0.0, "/out/big.tif")
SMALL = replace(BIG, name="small.tif", size=50, output="/out/small.tif")


def scene_at(path, **changes):
    return replace(BIG, source=str(path), size=path.stat().st_size, **changes)


def test_headers_tell_pixels_and_bands(tmp_path):
    path = archive_scenes.write(tmp_path / "a.tif", archive_scenes.pixels(3, 40, 30))
    assert read_samples(scene_at(path)) == 3 * 40 * 30
    (tmp_path / "b.tif").write_bytes(b"no image")
    assert read_samples(scene_at(tmp_path / "b.tif")) is None
    assert read_samples(BIG) is None


def test_of_an_object_its_first_bytes_are_read(tmp_path, monkeypatch):
    server = install(monkeypatch)
    path = archive_scenes.write(tmp_path / "a.tif", archive_scenes.pixels(3, 400, 300))
    ranges = []

    def get_object(Bucket, Key, Range=None):
        ranges.append(Range)
        return {"Body": io.BytesIO(path.read_bytes()[: 2**16])}

    server.get_object = get_object
    assert read_samples(replace(BIG, source="s3://bucket/a.tif")) == 3 * 400 * 300
    assert ranges == ["bytes=0-65535"]


def test_a_calm_sea_and_a_city_of_one_size_count_alike(tmp_path):
    """Their files differ a hundredfold."""
    sea = archive_scenes.write(tmp_path / "sea.tif", np.zeros((1, 500, 500), "uint8"), compress="deflate")
    city = archive_scenes.write(tmp_path / "city.tif", archive_scenes.pixels(1, 500, 500), compress="deflate")
    scenes = [scene_at(city), scene_at(sea, output="/out/sea.tif")]
    assert scenes[0].size > 50 * scenes[1].size
    sizes = SceneSizes(scenes)
    sizes._read_headers()
    assert sizes.done_and_left() == (0, 500_000)
    sizes.end(scenes[0], finished=True)
    assert sizes.done_and_left() == (250_000, 250_000)


@pytest.mark.parametrize("known_first", [True, False])
def test_unknown_scenes_count_by_the_density_of_those_that_are_known(known_first):
    sizes = SceneSizes([BIG, SMALL])
    assert sizes.done_and_left() == (0, 150)
    if known_first:
        sizes.learn(BIG, 3000)
        assert sizes.done_and_left() == (0, 3000 + 50 * 30)
    sizes.end(BIG, finished=True)
    sizes.learn(BIG, 3000)
    assert sizes.done_and_left() == (3000, 1500)
    assert (sizes.of(BIG), sizes.of(SMALL)) == (3000, 1500)
    sizes.end(SMALL, finished=False)
    sizes.learn(SMALL, 7)
    assert sizes.done_and_left() == (3000, 0)


def test_headers_are_read_while_the_run_works_and_no_longer(tmp_path):
    seen = []
    with SceneSizes([BIG, SMALL], lambda scene: seen.append(scene.name)) as sizes:
        while len(seen) < 2:
            pass
        assert sizes.done_and_left() == (0, 150)
    stopped = SceneSizes([BIG, SMALL], lambda scene: pytest.fail("it is read"))
    stopped._stopped.set()
    stopped._read_headers()
