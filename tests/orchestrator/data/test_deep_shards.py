"""Shards of images of any depth: nothing is lost, scenes stay together, and the range is stated or refused."""

import errno
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from helpers.own_scenes import write_geotiff, write_sites

from orchestrator.data import shards
from orchestrator.data.locked_test import locked_manifest
from orchestrator.data.sample_check import check_sample
from orchestrator.data.shard_reader import parts_of, pixel_format_of, read_manifest, read_rows, read_split
from orchestrator.data.shard_verify import verify_shards
from orchestrator.data.shards import build_shards
from orchestrator.data.spool import Spool
from orchestrator.experiment.image_settings import Target
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.deep_images import read_chips
from orchestrator.image_sets.set_files import list_files
from trainables.errors import ImageSetError
from trainables.images.parquet import decode_row
from trainables.samples.multispectral import BANDS

SHARES = {"validation": 0.2, "test": 0.2}


def target(folder: Path, **settings: object) -> Target:
    content = {"images": str(folder), "scenes": "folder", "value_range": {"uint16": [0, 10000]}, "chip": 96}
    return Target.model_validate(content | settings)


def build(folder: Path, out: Path, least_side: int = 40, **settings: object):
    images = target(folder, **settings)
    files = list_files(images, Storage.at(str(folder)))
    places = Storage.at(str(out / "shards")), Storage.at(str(out / "locked"))
    manifest = build_shards(files, SHARES, least_side, places[0], "mine", places[1], None, images.deep)
    return manifest, places


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_sites(folder, 6)
    return folder


@pytest.fixture(scope="module")
def packed(scenes: Path, tmp_path_factory: pytest.TempPathFactory):
    return build(scenes, tmp_path_factory.mktemp("packed"))


def rows_of(places):
    for place in places:
        manifest = read_manifest(place)
        for split in manifest["images"]:
            for part in parts_of(place, manifest, split):
                yield from ((split, row) for row in read_rows(place, part))


def test_every_value_comes_back_and_chips_of_a_site_stay_together(scenes: Path, packed) -> None:
    manifest, places = packed
    assert manifest["images"].keys() == {"train", "validation"}
    assert locked_manifest(places[1])["images"]["test"] > 0
    splits: dict[str, set[str]] = {}
    seen = 0
    for split, row in rows_of(places):
        splits.setdefault(row.scene, set()).add(split)
        path, _, where = row.origin.partition(" (row ")
        top, left = (int(part) for part in where.rstrip(")").replace("column", "").split(","))
        with rasterio.open(scenes / path.partition("/")[2]) as file:
            whole = file.read().transpose(1, 2, 0)
        raster = row.raster()
        expected = whole[top : top + raster.height, left : left + raster.width]
        valid = np.ones(expected.shape[:2], bool) if raster.valid is None else raster.valid
        assert raster.values.dtype == np.uint16
        assert (raster.values[valid] == expected[valid]).all()
        assert (valid == (expected > 0).all(axis=2)).all()
        seen += 1
    assert all(len(found) == 1 for found in splits.values())
    assert seen == sum(manifest["images"].values()) + locked_manifest(places[1])["images"]["test"]


def test_the_manifest_states_depth_bands_and_range(packed) -> None:
    manifest, places = packed
    stated = pixel_format_of(manifest)
    assert (stated.dtype, stated.bands, stated.low, stated.high) == ("uint16", BANDS, 0, 10000)
    assert pixel_format_of(locked_manifest(places[1])) == stated
    image = next(read_split(places[0], "train"))
    assert image.pixels.dtype == np.uint16
    assert image.pixels.shape[2] == 4


def test_shards_verify_and_a_changed_value_is_noticed(packed) -> None:
    _, places = packed
    assert verify_shards(*places) == []


def test_parquet_compresses_them(packed) -> None:
    manifest, places = packed
    part = manifest["files"][0]
    data = places[0].child(part["path"]).read_bytes()
    table = pq.read_table(io.BytesIO(data))
    assert set(table["format"].to_pylist()) == {"NPY"}
    assert len(data) < 0.9 * sum(len(image) for image in table["image"].to_pylist())
    assert decode_row(table["image"][0].as_py(), pixel_format_of(manifest)).bands == BANDS


def test_chips_without_a_value_are_left_out_and_counted(tmp_path: Path) -> None:
    write_sites(tmp_path / "in", 4, side=128)
    values = np.zeros((384, 384, 4), np.uint16)
    values[:100, :100] = np.random.default_rng(0).integers(1, 9000, (100, 100, 4))
    write_geotiff(tmp_path / "in" / "site-edge" / "swath.tif", values)
    write_geotiff(tmp_path / "in" / "site-none" / "nothing.tif", np.zeros((128, 128, 4), np.uint16))
    manifest, _ = build(tmp_path / "in", tmp_path / "out")
    reasons = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
    assert reasons["site-edge/swath.tif"] == "12 of its 16 chips have no value"
    assert "no" in reasons["site-none/nothing.tif"]


def test_bands_are_chosen_by_name_in_the_order_asked_for(scenes: Path, tmp_path: Path) -> None:
    manifest, places = build(scenes, tmp_path, bands=["red", "nir"])
    _, row = next(rows_of(places))
    assert row.raster().bands == ("red", "nir")
    assert pixel_format_of(manifest).bands == ("red", "nir")
    with pytest.raises(ImageSetError, match=r"no band 'swir'.* blue, green, red, nir"):
        build(scenes, tmp_path / "other", bands=["red", "swir"])


def test_percentiles_are_measured_once_on_the_training_split(scenes: Path, tmp_path: Path) -> None:
    manifest, places = build(scenes, tmp_path, value_range="percentile")
    stated = pixel_format_of(manifest)
    train = [row.raster() for split, row in rows_of(places) if split == "train"]
    values = np.concatenate([r.values[r.valid if r.valid is not None else np.s_[:]].ravel() for r in train])
    low, high = np.percentile(values, [0.1, 99.9])
    assert stated.low == pytest.approx(low, abs=0.05 * (high - low))
    assert stated.high == pytest.approx(high, rel=0.15)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"uint16": [20000, 30000]}, "does not fit the values of .* lie outside and would be cut off"),
        ({"uint16": [0, 5e7]}, "they fill less than 0.1% of it"),
        ({"int16": [0, 10000]}, "are uint16, and value_range states int16 alone: add uint16"),
        ("window", "0 state a window"),
    ],
)
def test_a_range_that_fits_nothing_is_refused_before_anything_is_built(scenes: Path, stated, words, tmp_path) -> None:
    images = target(scenes, value_range=stated)
    files = list_files(images, Storage.at(str(scenes)))
    with pytest.raises(ImageSetError, match=words):
        check_sample(files, 40, SHARES, images.deep)
    with pytest.raises(ImageSetError, match=words):
        build(scenes, tmp_path, value_range=stated)
    assert not any(tmp_path.rglob("*.parquet"))


def test_mixed_depths_and_mixed_bands_are_refused_with_both_files_named(tmp_path: Path) -> None:
    write_sites(tmp_path / "in", 4, side=96)
    random = np.random.default_rng(1)
    write_geotiff(
        tmp_path / "in/zz/three.tif", random.integers(1, 9000, (96, 96, 3)).astype(np.uint16), names=BANDS[:3]
    )
    with pytest.raises(ImageSetError, match=r"4 bands .* and 'zz/three.tif' uint16, 3 bands .* one data type"):
        build(tmp_path / "in", tmp_path / "out")
    images = target(tmp_path / "in")
    files = list_files(images, Storage.at(str(tmp_path)))
    with pytest.raises(ImageSetError, match="one data type and the same bands"):
        check_sample(files, 40, SHARES, images.deep)


def test_a_sample_says_how_many_chips_a_file_gives(scenes: Path) -> None:
    images = target(scenes)
    found = check_sample(list_files(images, Storage.at(str(scenes))), 40, SHARES, images.deep)
    assert found.images_per_file == 4


def test_a_large_scene_is_packed_in_flat_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory follows a strip of chips and a file of shards, not the scene."""
    write_sites(tmp_path / "in", 3, side=96)
    side = 3000
    random = np.random.default_rng(0)
    write_geotiff(tmp_path / "in/large/scene.tif", random.integers(1, 9000, (side, side, 4)).astype(np.uint16))
    monkeypatch.setattr(shards, "FILE_BYTES", 4 * 2**20)
    tracemalloc.start()
    build(tmp_path / "in", tmp_path / "out", chip=256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < side * side * 8 / 2


def test_a_full_disk_ends_the_build_and_leaves_no_file_out_in_silence(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(spool: Spool, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "put", full)
    with pytest.raises(OSError, match="No space left"):
        build(scenes, tmp_path)
    assert not any(tmp_path.rglob("*.parquet"))


def test_a_chip_that_is_kept_does_not_keep_its_strip(scenes: Path) -> None:
    images = target(scenes)
    _, chips = read_chips(Storage.at(str(scenes / "site02")), "winter.tif", images.deep, 40)
    for chip in chips:
        for array in (chip.raster.values, chip.raster.valid):
            root = array if array.base is None else array.base
            assert root.nbytes <= chip.raster.values.nbytes
