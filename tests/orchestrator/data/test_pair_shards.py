"""Shards of pairs: both images of each, checked before and read together."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_scenes import write_geotiff
from pair_files import degraded, write_pairs
from PIL import Image

from orchestrator.data.locked_test import locked_manifest
from orchestrator.data.sample_check import check_sample
from orchestrator.data.shard_reader import read_manifest, read_split
from orchestrator.data.shard_verify import verify_shards
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import PairReading, Target
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import list_files, listing_fingerprint
from trainables.errors import ImageSetError, RunError
from trainables.samples.multispectral import scene

SCALE, LEAST = 2, 48
SHARES = {"validation": 0.2, "test": 0.2}
PAIRS = {"hr": "hr", "lr": "lr"}


def listed(root, test_images=None, notes=None, images=PAIRS, **settings):
    target = Target(images=images, test_images=test_images, **settings)
    note = (lambda line: None) if notes is None else notes.append
    return list_files(target, Storage.at(str(root)), target.test_images, note=note, scale=lambda: SCALE)


def build(root, files=None, shares=SHARES, deep=None, **reading):
    places = [Storage.at(str(root / name)) for name in ("shards/a", "test-locked/a")]
    pairs = PairReading(SCALE, **reading)
    manifest = build_shards(files or listed(root), shares, LEAST, places[0], "mine", places[1], None, deep, pairs)
    return manifest, *places


def sample(root, files=None, deep=None, **reading):
    return check_sample(files or listed(root), LEAST, SHARES, deep, PairReading(SCALE, **reading)).lines


@pytest.fixture
def pairs(tmp_path):
    write_pairs(tmp_path, 8)
    return tmp_path


def pixels_of(root, name):
    return {side: np.array(Image.open(root / side / name)) for side in ("hr", "lr")}


def test_both_images_come_back_as_they_were(pairs):
    manifest, out, locked = build(pairs)
    assert manifest["pairs"] == {"scale": 2, "registration": False, "radiometry": False}
    assert locked_manifest(locked)["pairs"] == manifest["pairs"]
    images = [*read_split(out, "train"), *read_split(out, "validation")]
    assert len(images) + locked_manifest(locked)["images"]["test"] == 8
    for image in images:
        files = pixels_of(pairs, image.name.rpartition("/")[2])
        assert np.array_equal(image.pixels, files["hr"])
        assert np.array_equal(image.lr.pixels, files["lr"])
    assert verify_shards(out, locked) == []


def test_hr_images_alone_have_the_columns_that_they_always_had(pairs):
    target = Target(images="hr")
    files = list_files(target, Storage.at(str(pairs)))
    out = Storage.at(str(pairs / "plain"))
    build_shards(files, {"validation": 0.2}, LEAST, out, "mine")
    assert "pairs" not in read_manifest(out)
    (part, *_) = (pairs / "plain/train").iterdir()
    assert "lr_image" not in pq.read_schema(part).names
    assert next(read_split(out, "train")).lr is None


def test_another_lr_image_makes_another_set(pairs):
    before, first = build(pairs)[0]["digest"], listing_fingerprint(listed(pairs))
    Image.fromarray(255 - pixels_of(pairs, "3.png")["lr"]).save(pairs / "lr/3.png")
    assert build(pairs)[0]["digest"] != before
    assert listing_fingerprint(listed(pairs)) != first


def test_one_side_missing_is_refused_at_once(pairs):
    (pairs / "lr/3.png").unlink()
    shutil.copy(pairs / "lr/4.png", pairs / "lr/other.png")
    words = r"1 of 8 HR images has no LR image, such as '3.png'; 1 of 8 LR images has no HR image, such as 'other.png'"
    with pytest.raises(ImageSetError, match=words):
        listed(pairs)


def test_a_table_pairs_files_of_any_names(pairs):
    (pairs / "lr/3.png").rename(pairs / "lr/x.png")
    (pairs / "pairs.csv").write_text("hr,lr\n3.png,x.png\n0.png,0.png\n1.png,1.png\n2.png,2.png\n")
    notes = []
    files = listed(pairs, notes=notes, images=PAIRS | {"table": "pairs.csv"})
    assert [(file.facts.path, file.lr.facts.path) for file in files] == [
        ("0.png", "0.png"),
        ("1.png", "1.png"),
        ("2.png", "2.png"),
        ("3.png", "x.png"),
    ]
    assert notes == ["hr: 8 HR and LR images are in no row of the table of pairs 'pairs.csv'"]


def test_test_pairs_of_their_own(pairs):
    write_pairs(pairs / "held", 2, first=50)
    files = listed(pairs, {"hr": "held/hr", "lr": "held/lr"})
    _, out, locked = build(pairs, files, {"validation": 0.2})
    assert locked_manifest(locked)["images"] == {"test": 2}
    assert read_manifest(out)["images"] == {"train": 6, "validation": 2}


def test_pairs_whose_sizes_do_not_fit_are_left_out_with_both(pairs):
    Image.fromarray(pixels_of(pairs, "3.png")["lr"][:-1]).save(pairs / "lr/3.png")
    reason = "128×128 pixels, not 2 times the size of its LR image, 64×63"
    manifest = build(pairs)[0]
    assert manifest["skipped"] == [{"file": "3.png", "reason": reason}]
    (line,) = (line for line in sample(pairs) if "cannot be used" in line)
    assert "1 of its images cannot be used (left out: 1 × not 2 times the size of its LR image, 64×63)" in line


def test_an_unreadable_lr_image_is_named(pairs):
    (pairs / "lr/3.png").write_bytes(b"no image")
    skipped = build(pairs)[0]["skipped"]
    assert [entry["file"] for entry in skipped] == ["3.png"]
    assert skipped[0]["reason"].startswith("its LR image '3.png': ")


def test_a_sample_of_good_pairs_tells_how_they_lie(pairs):
    lines = [line.partition("hr: ")[2] for line in sample(pairs)]
    assert lines[0].startswith("overlap 100% (100% to 100%) of 8 pairs; displacement of LR in LR pixels ")
    assert lines[1].startswith("magnification beyond the scale factor 1.00")
    assert [part.split()[0] for part in lines[2].removeprefix("LR = ").split("; ")] == ["red", "green", "blue"]


def test_gray_pairs_may_lie_among_coloured_ones(pairs):
    for name in ("2.png", "5.png"):
        for side in ("hr", "lr"):
            Image.open(pairs / side / name).convert("L").save(pairs / side / name)
    assert "of 8 pairs; displacement" in sample(pairs)[0]
    _, out, locked = build(pairs)
    assert verify_shards(out, locked) == []


def displaced(hr):
    lr = degraded("satellite", SCALE)(hr)
    return np.roll(lr, (2, 0), (0, 1))


def brighter(hr):
    return np.minimum(degraded("satellite", SCALE)(hr) + 20.0, 255).astype(np.uint8)


def of_twice_the_scale(hr):
    lr = degraded("satellite", 4)(hr)
    return np.array(Image.fromarray(lr).resize((64, 64), Image.Resampling.BICUBIC))


WRONG = {
    displaced: "LR is displaced against HR by 2.0",
    brighter: "radiometry differs, LR = ",
    of_twice_the_scale: "the LR images were enlarged",
}


@pytest.mark.parametrize("lr_of", WRONG, ids=lambda function: function.__name__)
def test_wrong_pairs_are_refused_before_they_are_packed(tmp_path, lr_of):
    write_pairs(tmp_path, 6, lr_of=lr_of)
    with pytest.raises(ImageSetError) as caught:
        sample(tmp_path)
    assert str(caught.value).startswith(f"The pairs of '{tmp_path}/hr' do not fit: {WRONG[lr_of]}")
    assert "`check: report` to train on them as they are" in str(caught.value)
    reported = sample(tmp_path, refuse=False)
    assert any(f"these pairs do not fit: {WRONG[lr_of]}" in line for line in reported)


def test_registration_and_radiometry_are_corrected_where_asked_for(tmp_path):
    write_pairs(tmp_path, 6, lr_of=lambda hr: displaced(hr) // 2 + 40)
    corrections = {"registration": True, "radiometry": True}
    assert not any("do not fit" in line for line in sample(tmp_path, **corrections))
    _, out, locked = build(tmp_path, **corrections)
    images = [*read_split(out, "train"), *read_split(out, "validation")]
    assert verify_shards(out, locked) == []
    for image in images:
        files = pixels_of(tmp_path, image.name.rpartition("/")[2])
        assert image.pixels.shape[:2] == (124, 128)
        assert np.array_equal(image.pixels, files["hr"][:124])
        means = image.pixels.reshape(62, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(image.lr.pixels - means).mean() < 8
        assert np.abs(files["lr"][2:] - means).mean() > 12


def test_pairs_that_show_different_things_cannot_be_corrected(tmp_path):
    write_pairs(tmp_path, 6)
    shutil.copy(tmp_path / "lr/0.png", tmp_path / "lr/1.png")
    skipped = build(tmp_path, registration=True)[0]["skipped"]
    assert skipped == [{"file": "1.png", "reason": "its LR image shows something else, or the same at another scale"}]


def test_a_changed_lr_image_in_a_shard_is_found(pairs):
    _, out, _ = build(pairs)
    (part, *_) = (file for file in (pairs / "shards/a/train").iterdir())
    table = pq.read_table(part)
    changed = [b"x" + data[1:] for data in table["lr_image"].to_pylist()]
    column = table.schema.get_field_index("lr_image")
    pq.write_table(table.set_column(column, "lr_image", pa.array(changed, pa.binary())), part)
    with pytest.raises(RunError, match="damaged"):
        list(read_split(out, "train"))
    assert verify_shards(out)


def test_lr_columns_that_are_missing_are_damage(pairs):
    _, out, _ = build(pairs)
    manifest = read_manifest(out)
    for part in manifest["files"]:
        file = pairs / "shards/a" / part["path"]
        pq.write_table(pq.read_table(file).drop_columns("lr_sha256"), file)
    with pytest.raises(RunError, match="damaged"):
        list(read_split(out, "train"))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Four-band scenes at x2: LR is the mean over 2×2 pixels, with a swath's end in one of them."""
    root = tmp_path_factory.mktemp("deep")
    for site in range(5):
        hr = scene(site, "summer", (192, 256)).raster.values
        hr[:, :20] = 0 if site == 0 else hr[:, :20]
        lr = hr.reshape(96, 2, 128, 2, 4).mean((1, 3)).round().astype(np.uint16)
        write_geotiff(root / "hr" / f"{site}.tif", hr)
        write_geotiff(root / "lr" / f"{site}.tif", lr, pixel=5.0)
    return root


def test_deep_pairs_are_cut_into_chips_together(deep, tmp_path):
    target = Target(images=PAIRS, value_range=[0, 10000], chip=100)
    files = list_files(target, Storage.at(str(deep)), scale=lambda: SCALE)
    lines = sample(deep, files, target.deep)
    assert any("; nir 1.00" in line for line in lines)
    places = [Storage.at(str(tmp_path / name)) for name in ("shards", "locked")]
    manifest = build_shards(files, SHARES, LEAST, places[0], "mine", places[1], None, target.deep, PairReading(SCALE))
    images = [*read_split(places[0], "train"), *read_split(places[0], "validation")]
    assert sum(manifest["images"].values()) == len(images) > 10
    for image in images:
        height, width = image.lr.pixels.shape[:2]
        assert image.pixels.shape == (2 * height, 2 * width, 4)
        means = image.pixels.reshape(height, 2, width, 2, 4).mean((1, 3))
        known = np.ones((height, width), bool) if image.lr.valid is None else image.lr.valid
        assert np.abs(image.lr.pixels - means)[known].max() <= 0.5 * 65535 / 10000 + 1


def test_deep_pairs_are_corrected_in_their_own_values(deep, tmp_path):
    for site in range(5):
        hr = scene(site, "summer", (192, 192)).raster.values
        lr = hr.reshape(96, 2, 96, 2, 4).mean((1, 3))
        changed = np.where(lr > 0, np.roll(lr, 3, 0) * [0.5, 1.5, 1, 1] + [300, 0, 0, 200], 0)
        write_geotiff(tmp_path / "hr" / f"{site}.tif", hr)
        write_geotiff(tmp_path / "lr" / f"{site}.tif", changed.round().astype(np.uint16), pixel=5.0)
    target = Target(images=PAIRS, value_range=[0, 10000])
    files = list_files(target, Storage.at(str(tmp_path)), scale=lambda: SCALE)
    with pytest.raises(
        ImageSetError, match=r"displaced against HR by 3\.0.*; radiometry differs, LR = (0\.5|1\.4|1\.5)"
    ):
        sample(tmp_path, files, target.deep)
    out, locked = (Storage.at(str(tmp_path / name)) for name in ("shards", "locked"))
    reading = PairReading(SCALE, registration=True, radiometry=True)
    build_shards(files, SHARES, LEAST, out, "mine", locked, None, target.deep, reading)
    for image in read_split(out, "train"):
        height, width = image.lr.pixels.shape[:2]
        assert (height, width) == (93, 96)
        means = image.pixels.reshape(height, 2, width, 2, 4).mean((1, 3))
        assert np.median(np.abs(image.lr.pixels - means)) < 0.005 * 65535


def test_lr_files_of_another_kind_are_left_out(deep, tmp_path):
    shutil.copytree(deep, tmp_path / "set")
    values = np.full((96, 128, 4), 9, np.uint8)
    write_geotiff(tmp_path / "set/lr/1.tif", values, pixel=5.0)
    write_geotiff(tmp_path / "set/lr/2.tif", values[..., :3].astype(np.uint16), 5.0, ("blue", "green", "red"))
    target = Target(images=PAIRS, value_range=[0, 10000])
    files = list_files(target, Storage.at(str(tmp_path / "set")), scale=lambda: SCALE)
    out, locked = (Storage.at(str(tmp_path / name)) for name in ("shards", "locked"))
    manifest = build_shards(files, SHARES, LEAST, out, "mine", locked, None, target.deep, PairReading(SCALE))
    assert {entry["file"]: entry["reason"] for entry in manifest["skipped"]} == {
        "1.tif": "uint16, 4 bands and 1 layers, but its LR image has uint8, 4 bands and 1 layers",
        "2.tif": "uint16, 4 bands and 1 layers, but its LR image has uint16, 3 bands and 1 layers",
    }
