"""Classes and flags are repeated, pictures are not taken for them."""

import archive_scenes as scenes
import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from orchestrator.archive.batch.plan import digest
from orchestrator.archive.scene.class_bands import generic_name, known_name
from orchestrator.archive.scene.nodata import enlarged
from orchestrator.archive.scene.reader import gdal
from orchestrator.archive.scene.types import SceneError, SceneSettings
from orchestrator.archive.scene.upscale import check_scene

RNG = np.random.default_rng(5)
Y, X = np.mgrid[:96, :128]


def classes(values=(0, 4, 9, 5, 11, 3), dtype=np.uint8):
    """Patches of classes, whose neighbours are no neighbours in value."""
    return np.array(values, dtype)[((X // 17) * 2 + (Y // 13) * 3) % len(values)][None]


def smooth(low, high, noise=0.0, dtype=np.uint8):
    """A picture of slopes."""
    wave = (np.sin(X / 17) + np.cos(Y / 11) + 2) / 4
    return (low + (high - low) * wave + RNG.normal(0, noise, X.shape)).round().clip(0, 255).astype(dtype)[None]


def repeated(out):
    return [note for note in out.notes if "repeated" in note]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("T33_20210705_SCL_20m.tif", classes()),
        ("LC08_L2SP_QA_PIXEL.tif", classes((21824, 22280, 1, 23888, 21952, 54596), np.uint16)),
        ("LC08_QA_RADSAT.TIF", classes((0, 1, 2, 4), np.uint16)),
        ("S2_MSK_CLASSI_B00.tif", classes((0, 1))),
        ("20210705_3B_udm2_clip.tif", np.concatenate([classes((0, 1)), classes((0, 1, 80))])),
        ("ESA_WorldCover_10m_2021_v200_N00E000_Map.tif", classes((10, 20, 30, 80, 100))),
        ("nlcd2021.tif", classes((11, 21, 95, 41))),
        ("U2018_CLC2018.tif", classes((111, 112, 523, 312), np.int16)),
        ("2020_30m_cdls.tif", classes((1, 5, 254, 176))),
        ("region_cloudmask.tif", classes((0, 255))),
        ("x_mask.tif", classes((0, 255))),
        ("unnamed.tif", classes()),
        ("unnamed2.tif", classes((0, 1))),
        ("unnamed3.tif", classes((10, 20, 30, 80, 100))),
        ("unnamed4.tif", classes((21824, 22280, 1, 23888), np.uint16)),
    ],
)
def test_classes_are_repeated_and_said(tmp_path, name, values):
    out = scenes.run(scenes.write(tmp_path / name, values, photometric="minisblack"), tmp_path)
    np.testing.assert_array_equal(scenes.read(out.path), enlarged(values, 4))
    assert len(repeated(out)) == 1
    assert out.normalisation == "none: all bands are repeated"
    with gdal(), rasterio.open(out.path, overview_level=0) as half:
        assert set(np.unique(half.read())) <= set(np.unique(values)), "overviews invent none"
        assert half.tags()["RAYSCALE_REPEATED"] == ",".join(str(band + 1) for band in range(len(values)))


PICTURES = {
    "dark night": smooth(0, 6, 0.7),
    "dark water in near infrared": smooth(2, 9, 1.5),
    "very dark": smooth(0, 2, 0.3),
    "nearly black": (RNG.random((1, 96, 128)) < 0.05).astype(np.uint8),
    "constant": np.full((1, 96, 128), 7, np.uint8),
    "few grays": (smooth(0, 255) // 64 * 85),
    "scanned text": np.where(RNG.random((1, 96, 128)) < 0.1, 0, 255).astype(np.uint8),
    "line map in black and white": np.where((X // 20 + Y // 15) % 2, 0, 255).astype(np.uint8)[None],
    "flat drawing": classes((0, 60, 128, 200, 255)),
    "posterised": smooth(0, 255) // 16,
    "noise of few levels": RNG.integers(0, 8, (1, 96, 128)).astype(np.uint8),
    "photograph": smooth(10, 240, 5),
    "deep and dark": smooth(0, 30, 2, np.uint16),
}


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("place", [True, False])
def test_pictures_are_filtered(tmp_path, kind, place):
    where = {} if place else {"crs": None, "transform": None}
    path = scenes.write(tmp_path / "a.tif", PICTURES[kind], **where)
    out = scenes.run(path, tmp_path, SceneSettings(blocksize=128, normalisation=(0, 255)))
    assert repeated(out) == []


@pytest.mark.parametrize("name", ["SCL.tif", "montreal_qc.tif", "landcover.tif", "gas_mask.tif", "labels.tif"])
def test_a_name_is_not_believed_against_the_values(tmp_path, name):
    out = scenes.run(scenes.write(tmp_path / name, smooth(0, 255, 3)), tmp_path)
    assert repeated(out) == []


@pytest.mark.parametrize("name", ["gas_mask.tif", "labels.tif"])
def test_a_colour_picture_is_one_whatever_its_name(tmp_path, name):
    values = np.concatenate([classes((0, 200, 90))] * 3)
    out = scenes.run(scenes.write(tmp_path / name, values, photometric="rgb"), tmp_path)
    assert repeated(out) == []


@pytest.mark.parametrize(
    ("pam", "reason"),
    [
        ("<CategoryNames><Category>water</Category></CategoryNames>", "category"),
        ("<Metadata><MDI key='LAYER_TYPE'>thematic</MDI></Metadata>", "thematic"),
        ("<GDALRasterAttributeTable tableType='thematic'/>", "thematic attribute table"),
        ("<CategoryNames><Category/></CategoryNames>", None),
        ("<GDALRasterAttributeTable tableType='athematic'/>", None),
    ],
)
def test_what_lies_beside_says_that_values_are_classes(tmp_path, pam, reason):
    values = smooth(0, 255, 3)
    path = scenes.write(tmp_path / "a.tif", values)
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset><PAMRasterBand band='1'>{pam}</PAMRasterBand></PAMDataset>")
    out = scenes.run(path, tmp_path)
    if reason is None:
        assert repeated(out) == []
    else:
        assert reason in repeated(out)[0]
        np.testing.assert_array_equal(scenes.read(out.path), enlarged(values, 4))


@pytest.mark.parametrize("beside", ["a.tif.vat.dbf", "a.clr"])
def test_tables_beside_say_it_too(tmp_path, beside):
    path = scenes.write(tmp_path / "a.tif", smooth(0, 255, 3))
    (tmp_path / beside).write_text("x")
    assert "table" in repeated(scenes.run(path, tmp_path))[0]


def test_tags_of_the_file_say_it(tmp_path):
    for tags in ({"landcover_class_names": "water, trees"}, {"LAYER_TYPE": "thematic"}):
        path = scenes.write(tmp_path / "a.tif", smooth(0, 255, 3))
        with gdal(), rasterio.open(path, "r+") as target:
            target.update_tags(**tags)
        assert repeated(scenes.run(path, tmp_path))


def test_one_bit_on_a_map_is_a_flag_with_its_two_colours(tmp_path):
    values = classes((0, 1))
    path = scenes.write(tmp_path / "a.tif", values, nbits=1)
    out = scenes.run(path, tmp_path)
    np.testing.assert_array_equal(scenes.read(out.path), enlarged(values, 4))


def test_a_band_of_classes_among_pictures_alone_is_repeated(tmp_path):
    pictures = [smooth(0, 5000, 20, np.float64).astype(np.uint16) * 30 for _ in range(3)]
    values = np.concatenate([*pictures[:2], classes(dtype=np.uint16), pictures[2]])
    path = scenes.write(tmp_path / "a.tif", values, photometric="minisblack")
    with gdal(), rasterio.open(path, "r+") as target:
        target.descriptions = ("B4", "B3", "SCL", "B2")
        target.colorinterp = [ColorInterp[c] for c in ("red", "green", "undefined", "blue")]
    settings = SceneSettings(blocksize=128, normalisation=(0, 10000))
    out = scenes.run(path, tmp_path, settings)
    hr = scenes.read(out.path)
    np.testing.assert_array_equal(hr[2], enlarged(values[2], 4))
    assert out.band_map == "1,2,4"
    assert repeated(out) == ["bands 3 were repeated, not filtered, as classes or flags ('scl' in its name)"]
    alone = scenes.write(tmp_path / "b.tif", values[[0, 1, 3]], photometric="minisblack")
    with gdal(), rasterio.open(alone, "r+") as target:
        target.colorinterp = [ColorInterp[c] for c in ("red", "green", "blue")]
    np.testing.assert_array_equal(hr[[0, 1, 3]], scenes.read(scenes.run(alone, tmp_path, settings, name="c.tif").path))
    singly = SceneSettings(blocksize=128, normalisation=(0, 10000), band_map=((1,), (2,), (3,), (4,)))
    assert scenes.run(path, tmp_path, singly).band_map == "1;2;4"
    mixed = SceneSettings(normalisation=(0, 10000), band_map=((1, 2, 3), (4,)))
    with pytest.raises(SceneError, match=r"puts bands of classes or flags \(3\) together") as error:
        check_scene(path, scenes.model().facts, mixed)
    assert error.value.kind == "model_mismatch"


def test_nodata_of_classes_is_kept(tmp_path):
    values = classes((0, 4, 9, 255))
    out = scenes.run(scenes.write(tmp_path / "SCL.tif", values, nodata=255), tmp_path)
    np.testing.assert_array_equal(scenes.read(out.path), enlarged(values, 4))
    with gdal(), rasterio.open(out.path) as target:
        assert target.nodata == 255
    assert out.valid_share == pytest.approx((values != 255).mean())


COLOURS = {0: (0, 0, 0, 255), 4: (0, 250, 0, 255), 9: (9, 9, 250, 255), 5: (250, 0, 0, 255)}


def palette(path):
    values = classes((0, 4, 9, 5))
    scenes.write(path, values, photometric="palette")
    with gdal(), rasterio.open(path, "r+") as target:
        target.write_colormap(1, COLOURS)
    return values


@pytest.mark.parametrize(("name", "labels"), [("landcover.tif", "auto"), ("a.tif", "repeat")])
def test_a_palette_of_classes_is_kept(tmp_path, name, labels):
    values = palette(tmp_path / name)
    out = scenes.run(tmp_path / name, tmp_path, SceneSettings(blocksize=128, labels=labels))
    np.testing.assert_array_equal(scenes.read(out.path), enlarged(values, 4))
    with gdal(), rasterio.open(out.path) as target:
        assert {index: target.colormap(1)[index] for index in COLOURS} == COLOURS
        assert target.colorinterp[0] == ColorInterp.palette


def test_a_palette_that_may_be_a_picture_is_still_refused_or_expanded(tmp_path):
    palette(tmp_path / "a.tif")
    with pytest.raises(SceneError, match=r"--expand-palette\), or repeat them \(--labels repeat\)"):
        scenes.run(tmp_path / "a.tif", tmp_path)
    palette(tmp_path / "landcover.tif")
    out = scenes.run(tmp_path / "landcover.tif", tmp_path, SceneSettings(blocksize=128, expand_palette=True))
    assert out.bands == 3


def test_labels_can_be_refused_filtered_or_asked_for(tmp_path):
    path = scenes.write(tmp_path / "SCL.tif", classes())
    with pytest.raises(SceneError, match=r"classes or flags \('scl' in its name\).*--labels filter") as error:
        scenes.run(path, tmp_path, SceneSettings(labels="refuse"))
    assert error.value.kind == "unsupported"
    filtered = scenes.run(path, tmp_path, SceneSettings(labels="filter", blocksize=128))
    assert len(np.unique(scenes.read(filtered.path))) > 6
    picture = scenes.pixels(2, 20, 30, "float32")
    forced = scenes.run(
        scenes.write(tmp_path / "b.tif", picture), tmp_path, SceneSettings(labels="repeat", blocksize=128)
    )
    np.testing.assert_array_equal(scenes.read(forced.path), enlarged(picture, 4))
    assert repeated(forced) == ["all bands were repeated, not filtered, as classes or flags (--labels repeat)"]


def test_classes_come_out_alike_in_parts(tmp_path):
    path = scenes.write(tmp_path / "SCL.tif", np.tile(classes(), (1, 2, 1)), nodata=11)
    one = scenes.run(path, tmp_path)
    more = scenes.run(path, tmp_path, SceneSettings(blocksize=128), parts=2, name="2.tif")
    assert one.sha256 == more.sha256


def test_archives_from_before_the_setting_stay_finished():
    """The digest of the settings is in every ledger row."""
    assert "labels" not in SceneSettings().of_the_result()
    assert digest(SceneSettings().of_the_result()) == (
        "021b6647c08384b2caddb46d6e17f113b4be950a9f53ba7eba8ff27cc090f2ec"
    )
    assert SceneSettings(labels="filter").of_the_result()["labels"] == "filter"


def test_names():
    for name in ("SCL", "CloudMask", "LC_Type1", "Fmask", "dynamicworld_2020", "GlobeLand30", "QA60", "DLTB"):
        assert known_name(name), name
    for name in ("LC08_B4", "muscle", "unmask", "classic", "B04", "TCI", "class_photo", "ST_QA"):
        assert known_name(name) is None, name
    assert generic_name("my_mask_2") == "mask"
    assert generic_name("unmasked") is None
