"""The radiometric contract of docs/archive.md, sentence by sentence, on scenes."""

import archive_scenes as scenes
import numpy as np
import pytest
import rasterio
from kernels import assert_same_files

from orchestrator.archive.batch.worker import ConsistencyObserver
from orchestrator.archive.scene.nodata import enlarged
from orchestrator.archive.scene.types import SceneError, SceneSettings
from orchestrator.archive.scene.upscale import check_scene, load_model
from orchestrator.archive.scene.value_range import normalisation, read_normalisation
from orchestrator.archive.scene.values.hints import advice
from orchestrator.archive.scene.values.measured import measure_ranges, sample_values
from orchestrator.archive.scene.values.products import product_range
from orchestrator.foundation.model_store import find_model
from trainables.errors import UsageError

REFLECTANCE = {"blocksize": 128, "normalisation": (0.0, 10000.0)}


def block_means(hr, scale=4):
    bands, height, width = hr.shape
    return hr.astype(float).reshape(bands, height // scale, scale, width // scale, scale).mean((2, 4))


def clouds(bands=1, height=60, width=70, dtype="uint16"):
    """Values within 0 to 10,000, and a cloud of 13,006."""
    values = scenes.pixels(bands, height, width, dtype)
    values[:, 20:40, 30:50] = 13006
    return values


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("bands", [1, 3])
def test_block_means_of_the_output_are_the_source_within_half_a_unit(tmp_path, dtype, bands):
    values = scenes.pixels(bands, 50, 60, dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values[:, :9, :9], values[:, 30:, 40:] = low, high  # where an output cannot swing about its mean
    ends = (0, 255) if dtype == "uint8" else (0, 10000)
    settings = SceneSettings(blocksize=128, normalisation=ends)
    out = scenes.run(scenes.write(tmp_path / "a.tif", values, photometric="minisblack"), tmp_path, settings)
    assert abs(block_means(scenes.read(out.path)) - values).max() <= 0.5
    plain = SceneSettings(blocksize=128, normalisation=settings.normalisation, back_project="off")
    without = scenes.run(tmp_path / "a.tif", tmp_path, plain, name="b.tif")
    assert abs(block_means(scenes.read(without.path)) - values).max() > 0.5


def test_block_means_of_decimals_are_the_source(tmp_path):
    values = scenes.pixels(1, 50, 60, "float32")
    out = scenes.run(scenes.write(tmp_path / "a.tif", values), tmp_path, SceneSettings(normalisation=(0, 1)))
    np.testing.assert_allclose(block_means(scenes.read(out.path)), values, atol=2e-6)


def test_a_cloud_beyond_the_range_keeps_its_value(tmp_path):
    values = clouds()
    source = scenes.write(tmp_path / "a.tif", values)
    out = scenes.run(source, tmp_path, SceneSettings(**REFLECTANCE))
    assert abs(block_means(scenes.read(out.path))[0, 20:40, 30:50] - 13006).max() <= 0.5


def test_the_network_sees_values_beyond_the_range_as_its_ends(tmp_path):
    """What it adds to a cloud of 13,006 is what it adds to one of 10,000."""
    outputs = []
    for level in (10000, 13006, 20000):
        values = np.full((1, 40, 40), level, np.uint16)
        settings = SceneSettings(**REFLECTANCE, back_project="off")
        out = scenes.run(scenes.write(tmp_path / f"{level}.tif", values), tmp_path, settings)
        outputs.append(scenes.read(out.path).astype(int) - level)
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1)
    np.testing.assert_allclose(outputs[2], outputs[0], atol=1)


def test_the_mean_of_a_band_is_that_of_the_source_within_half_a_unit(tmp_path):
    """With the packaged model and the default back-projection, on a scene of soft fields."""
    rng = np.random.default_rng(0)
    fields = np.kron(rng.uniform(500, 9000, (1, 8, 8)), np.ones((1, 12, 12))) + rng.normal(0, 60, (1, 96, 96))
    source = scenes.write(tmp_path / "a.tif", fields.astype(np.uint16))
    found = {}
    for option in ("on", "off"):
        settings = SceneSettings(**REFLECTANCE, back_project=option, precision="float32")
        made = load_model(find_model("base-x4"), settings)
        hr = scenes.read(scenes.run(source, tmp_path, settings, made=made).path)
        found[option] = abs(float((block_means(hr) - scenes.read(source)).mean()))
    assert found["on"] <= 0.5 < found["off"]


def test_an_all_zero_band_stays_zero(tmp_path):
    out = scenes.run(
        scenes.write(tmp_path / "a.tif", np.zeros((1, 30, 30), np.uint16)), tmp_path, SceneSettings(**REFLECTANCE)
    )
    assert not scenes.read(out.path).any()


@pytest.mark.parametrize("back_project", ["on", "model", "off"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiles_and_parts_change_no_byte_beyond_the_range_and_beside_nodata(tmp_path, scale, back_project):
    values = clouds(2, 150, 70)
    holes = np.random.default_rng(1).random((1, 150, 70)) < 0.02
    values[:, 60:90, 10:25] = 0
    source = scenes.write(tmp_path / "a.tif", np.where(holes, 0, values).astype(np.uint16), nodata=0)
    outputs = []
    for memory, parts in ((8, 1), (64, 1), (8, 3)):
        settings = SceneSettings(**REFLECTANCE, memory_mb=memory, back_project=back_project)
        out = scenes.run(source, tmp_path, settings, parts=parts, scale=scale)
        outputs.append((out.sha256, scenes.read(out.path)))
    assert_same_files(*outputs)


@pytest.mark.parametrize("nodata", [0, 65535, 777])
def test_no_output_depends_on_the_value_of_nodata(tmp_path, nodata):
    values = 3000 + clouds(1) // 4  # far from the limits of the data type, which nodata moves
    holes = np.random.default_rng(1).random(values.shape) < 0.05
    holes[0, 5:25, 5:20] = True
    settings, shown = SceneSettings(**REFLECTANCE), ~enlarged(holes, 4)
    out = scenes.run(
        scenes.write(tmp_path / "a.tif", np.where(holes, nodata, values).astype(np.uint16), nodata=nodata),
        tmp_path,
        settings,
    )
    hr = scenes.read(out.path)
    assert (hr[~shown] == nodata).all()
    assert not (hr[shown] == nodata).any()
    assert abs(block_means(hr) - values)[~holes].max() <= 0.5
    other = scenes.run(
        scenes.write(tmp_path / "b.tif", np.where(holes, 40000, values).astype(np.uint16), nodata=40000),
        tmp_path,
        settings,
        name="b-out.tif",
    )
    np.testing.assert_array_equal(hr[shown], scenes.read(other.path)[shown])


def flags_of(source, folder, settings=None, **card):
    observer = ConsistencyObserver(4)
    scenes.run(
        source, folder, settings or SceneSettings(**REFLECTANCE), observe=observer, made=scenes.model_with(**card)
    )
    return observer.meter.result().radiometry


def test_flags_are_measured_on_what_is_written(tmp_path):
    source = scenes.write(tmp_path / "a.tif", clouds(4), names=scenes.REFLECTANCE, photometric="minisblack")
    found = flags_of(source, tmp_path)
    assert "bias" not in found.flags
    assert "out-of-range" in found.flags
    assert found.outside == pytest.approx(400 / 4200)
    assert found.block_error <= 0.5
    assert set(found.shifts) == {"ndvi", "ndwi"}
    assert not {"ndvi", "ndwi"} & set(found.flags)
    without = flags_of(source, tmp_path, SceneSettings(**REFLECTANCE, back_project="off"))
    assert "bias" in without.flags


def test_overshoot_does_not_depend_on_the_cells(tmp_path):
    source = scenes.write(tmp_path / "a.tif", clouds(1, 200, 210))
    found = {flags_of(source, tmp_path, SceneSettings(**REFLECTANCE, memory_mb=mb)).overshoot for mb in (6, 64)}
    assert len(found) == 1


def test_classes_have_no_range_to_lie_beyond(tmp_path):
    values = scenes.pixels(2, 40, 40, "uint16")
    values[1] = 0
    values[1, 10:20, 5:25] = 4
    source = scenes.write(tmp_path / "a.tif", values, names=["red", "cloud_mask"])
    assert flags_of(source, tmp_path, SceneSettings(blocksize=128, normalisation=(10, 10000))).outside < 0.002


def test_settings_that_change_no_byte_as_before_are_in_no_digest():
    assert "back_project" not in SceneSettings().of_the_result()
    assert SceneSettings(back_project="off").of_the_result()["back_project"] == "off"
    by_type = SceneSettings(normalisation={"uint16": (0, 10000)}).of_the_result()
    assert by_type["normalisation"] == {"uint16": (0, 10000)}


class TestRanges:
    """Ranges without guessing."""

    def test_each_data_type_has_its_own(self, tmp_path):
        settings = SceneSettings(blocksize=128, normalisation={"uint8": (0, 200), "uint16": (0, 10000)})
        made = scenes.model()
        for dtype, text in (("uint8", "0 to 200 (given)"), ("uint16", "0 to 10000 (given)")):
            source = scenes.write(tmp_path / f"{dtype}.tif", scenes.pixels(1, 20, 20, dtype))
            assert scenes.run(source, tmp_path, settings).normalisation == text
        assert normalisation(
            "uint8", [1.0], [0.0], made.facts, SceneSettings(normalisation={"uint16": (0, 9)})
        ).text == ("0 to 255 (limits of uint8)")
        source = scenes.write(tmp_path / "c.tif", scenes.pixels(1, 20, 20, "int16"))
        with pytest.raises(SceneError, match="its values are int16 without scales"):
            check_scene(source, made.facts, settings)

    @pytest.mark.parametrize(
        ("texts", "option"),
        [
            ((), "auto"),
            (("measured",), "measured"),
            (("0,10000",), (0, 10000)),
            (("uint16=0,10000",), {"uint16": (0, 10000)}),
            (("uint8=0,255", "uint16=0,10000"), {"uint8": (0, 255), "uint16": (0, 10000)}),
        ],
    )
    def test_options_are_read(self, texts, option):
        assert read_normalisation(*texts) == option

    @pytest.mark.parametrize(
        "texts",
        [
            ("auto", "dtype"),
            ("uint12=0,4095",),
            ("uint16=0",),
            ("uint16=0,1", "uint16=0,2"),
            ("uint16=0,1", "0,2"),
            ("x",),
        ],
    )
    def test_other_options_are_named(self, texts):
        with pytest.raises(UsageError, match="or a range for each data type such as uint16=0,10000"):
            read_normalisation(*texts)

    @pytest.mark.parametrize("wrong", [{"uint12": (0, 1)}, {"uint16": (5, 5)}])
    def test_wrong_ranges_by_type_are_refused(self, wrong):
        with pytest.raises(UsageError):
            SceneSettings(normalisation=wrong)

    def test_a_refusal_names_the_percentiles_and_the_option_that_fits(self, tmp_path):
        source = scenes.write(tmp_path / "a.tif", scenes.pixels(1, 50, 50, "uint16"))
        with pytest.raises(SceneError) as error:
            check_scene(source, scenes.model().facts, SceneSettings())
        values = scenes.read(source)
        first, last = np.percentile(values, [1, 99])
        assert f"1 % lie below {first:,.6g}" in error.value.reason
        assert f"1 % above {last:,.6g}" in error.value.reason
        assert "--normalisation uint16=0,10000 fits reflectance times 10,000" in error.value.reason
        assert "--normalisation measured" in error.value.reason
        with pytest.raises(SceneError, match=r"does not fit the values of band 1.*--normalisation uint16=0,10000"):
            check_scene(source, scenes.model().facts, SceneSettings(normalisation=(60000, 65000)))

    def test_a_refusal_names_the_band_by_its_number_in_the_file(self, tmp_path):
        """Bands of classes before it count."""
        values = scenes.pixels(2, 40, 40, "uint16")
        values[0] = 0
        values[0, 10:20, 5:25] = 4
        source = scenes.write(tmp_path / "a.tif", values, names=["cloud_mask", "red"])
        with pytest.raises(SceneError, match="does not fit the values of band 2"):
            check_scene(source, scenes.model().facts, SceneSettings(normalisation=(60000, 65000)))

    @pytest.mark.parametrize(
        ("dtype", "values", "fitting"),
        [
            ("uint16", (8000, 20000), "uint16=7273,43636 fits Landsat Collection 2"),
            ("uint16", (0, 60000), "uint16=0,65535 fits values that fill 16 bits"),
            ("float32", (0.0, 0.9), "float32=0,1 fits reflectance"),
            ("float32", (0.0, 9000.0), "float32=0,10000 fits reflectance times"),
        ],
    )
    def test_the_option_follows_the_values(self, dtype, values, fitting):
        assert fitting in advice(dtype, np.linspace(*values, 1000, dtype=np.float32))

    def test_nothing_is_advised_that_fits_nothing(self):
        text = advice("int16", np.linspace(-30000, 30000, 100, dtype=np.float32))
        assert "fits" not in text
        assert "--normalisation measured" in text
        assert advice("int16", np.empty(0, np.float32)) == ""

    @pytest.mark.parametrize(
        ("path", "dtype", "ends"),
        [
            ("s3://b/S2B_MSIL2A_20220125T101329_N0400_R022_T32TQM_2022.SAFE/R10m/T_B04.jp2", "uint16", (1000, 11000)),
            ("/a/S2A_MSIL1C_20200125T101329_N0208_R022_T32TQM_2020.SAFE/T_B04.jp2", "uint16", (0, 10000)),
            ("/a/LC08_L2SP_042034_20200504_20200820_02_T1_SR_B4.TIF", "uint16", (7272.727, 43636.364)),
            ("/a/HLS.S30.T11SKA.2020009T184749.v2.0.B04.tif", "int16", (0, 10000)),
        ],
    )
    def test_products_are_known_by_their_names(self, path, dtype, ends):
        found = product_range(path, dtype)
        assert (found.low, found.high) == pytest.approx(ends)
        assert product_range(path, "uint8") is None

    @pytest.mark.parametrize("path", ["/a/B04.tif", "/a/LC08_L2SP_042034_20200504_20200820_02_T1_ST_B10.TIF"])
    def test_other_files_are_no_product(self, path):
        assert product_range(path, "uint16") is None

    def test_a_product_gives_the_range_after_the_card(self, tmp_path):
        source = scenes.write(
            tmp_path / "LC08_L2SP_042034_20200504_20200820_02_T1_SR_B4.tif", scenes.pixels(1, 20, 20, "uint16") + 7000
        )
        out = scenes.run(source, tmp_path)
        assert out.normalisation == "7272.73 to 43636.4 (Landsat Collection 2 surface reflectance)"
        card = scenes.model_with(value_range={"uint16": [0, 20000]})
        assert scenes.run(source, tmp_path, made=card).normalisation == "0 to 20000 (the model's card)"

    def test_a_range_is_measured_over_scenes_and_not_over_classes(self, tmp_path):
        values, flags = scenes.pixels(1, 60, 60, "uint16"), np.zeros((1, 60, 60), np.uint16)
        flags[0, 10:30, 10:30] = 60000
        values[0, :30] = 0
        both = np.concatenate([values, flags])
        source = scenes.write(tmp_path / "a.tif", both, names=["red", "cloud_mask"], nodata=0)
        dtype, found = sample_values(source)
        assert (dtype, len(found)) == ("uint16", int((values > 0).sum()))
        ranges = measure_ranges([(dtype, found), ("uint8", np.ones(9, np.float32)), ("uint16", found + 100)])
        assert list(ranges) == ["uint16"]
        pooled = np.concatenate([found, found + 100])
        assert (ranges["uint16"]["low"], ranges["uint16"]["high"]) == pytest.approx(
            np.percentile(pooled, [0.1, 99.9]), rel=1e-5
        )
        assert ranges["uint16"]["scenes"] == 2

    def test_a_range_of_one_value_is_refused(self):
        with pytest.raises(SceneError, match="nearly all 5"):
            measure_ranges([("uint16", np.full(100, 5, np.float32))])


def test_tags_state_the_range(tmp_path):
    source = scenes.write(tmp_path / "a.tif", scenes.pixels(1, 20, 20, "uint16"))
    settings = SceneSettings(blocksize=128, normalisation={"uint16": (0, 9000)}, range_from="measured")
    with rasterio.open(scenes.run(source, tmp_path, settings).path) as output:
        assert output.tags()["RAYSCALE_NORMALISATION"] == "0 to 9000 (measured)"
