import gzip

import nibabel
import numpy as np
import pytest

from orchestrator.rasters.open_raster_file import open_raster_file
from trainables.errors import UnreadableImageError, UsageError

SHAPE = (11, 13, 7)


def volume(dtype="int16", shape=SHAPE, low=-1000, high=3000):
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


def written(path, values, slope=None, intercept=None, kind=nibabel.Nifti1Image):
    nibabel.save(kind(values, np.eye(4), dtype=values.dtype), path)
    if slope is not None:  # which nibabel would choose by itself
        data = bytearray(path.read_bytes())
        data[112:120] = np.array([slope, intercept], "<f4").tobytes()
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_across_each_axis(tmp_path, ending, kind, axis):
    values = volume()
    path = written(tmp_path / f"a.{ending}", values, kind=kind)
    across = np.moveaxis(values, axis, 2)
    with open_raster_file(path, axis=axis) as file:
        assert (file.width, file.height, file.layers) == across.shape
        assert (file.dtype, file.bands, file.units, file.window, file.scene) == ("int16", ("gray",), "", None, None)
        for layer in range(file.layers):
            raster = file.read(layer, 2, 1, 4, 5)
            assert np.array_equal(raster.values[..., 0], across[1:6, 2:6, layer].T)
            assert raster.values.dtype.isnative


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "given"),
    [
        ("uint8", 1, 0, "uint8"),
        ("int8", 1, 0, "int16"),
        ("uint16", 1, 0, "uint16"),
        ("uint16", 1, -1024, "int16"),
        ("int32", 1, 0, "int16"),
        ("int16", 2, 0, "int16"),
        ("int16", 0.5, 10, "float32"),
        ("float32", 1, 0, "float32"),
        ("float64", 1, 0, "float32"),
        ("float32", 2, 1, "float32"),
        ("int16", float("nan"), 0, "int16"),
        ("int16", 0, 5, "int16"),
        (">i2", 1, 0, "int16"),
        (">f4", 1, 0, "float32"),
    ],
)
def test_slope_and_intercept(tmp_path, dtype, slope, intercept, given):
    low = 0 if "u" in dtype or dtype == "int8" else -1000
    values = volume(dtype, low=low, high=100)
    path = tmp_path / "a.nii"
    if dtype.startswith(">"):
        header = nibabel.Nifti1Header(endianness=">")
        header.set_data_dtype(np.dtype(dtype))
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4), header), path)
    else:
        written(path, values, slope, intercept)
    if not slope or np.isnan(slope):
        slope, intercept = 1, 0
    with open_raster_file(path) as file:
        assert file.dtype == given
        raster = file.read(3, 0, 0, 13, 11)
        wanted = values[..., 3].T.astype(float) * slope + intercept
        assert np.array_equal(raster.values[..., 0], wanted.astype(given))


def test_values_that_are_not_finite_are_invalid(tmp_path):
    values = volume("float32")
    values[3, 4, 5], values[1, 2, 5] = np.nan, -np.inf
    with open_raster_file(written(tmp_path / "a.nii.gz", values)) as file:
        assert np.argwhere(~file.read(5, 0, 0, 13, 11).valid).tolist() == [[2, 1], [4, 3]]
        assert file.read(4, 0, 0, 13, 11).valid is None


def test_volumes_along_a_fourth_axis_and_single_slices(tmp_path):
    values = volume(shape=(*SHAPE, 3))
    with open_raster_file(written(tmp_path / "a.nii", values)) as file:
        assert file.layers == 21
        assert np.array_equal(file.read(2 * 7 + 4, 0, 0, 13, 11).values[..., 0], values[..., 4, 2].T)
    with open_raster_file(written(tmp_path / "b.nii", volume(shape=(11, 13)))) as file:
        assert (file.layers, file.height, file.width) == (1, 13, 11)


def test_values_that_no_type_holds(tmp_path):
    values = volume("int32")
    values[0, 0, 0] = 2**24 + 1
    with (
        pytest.raises(UnreadableImageError, match="neither int16 nor float32"),
        open_raster_file(written(tmp_path / "a.nii", values)),
    ):
        pass
    values = volume("float64")
    values[0, 0, 0] = 1e200
    with pytest.raises(UnreadableImageError, match="neither"), open_raster_file(written(tmp_path / "b.nii", values)):
        pass


def refused(path, **options):
    with pytest.raises(UnreadableImageError) as reason, open_raster_file(path, **options) as file:
        file.read(0, 0, 0, file.height, file.width)
    return str(reason.value)


def test_colours_and_complex_numbers_are_refused(tmp_path):
    assert "complex64" in refused(written(tmp_path / "a.nii", volume("complex64")))
    colours = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "colours" in refused(written(tmp_path / "b.nii", colours))
    assert "shape" in refused(written(tmp_path / "c.nii", volume(shape=(4, 4, 2, 2, 3))))


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_damaged_files_are_refused(tmp_path, ending):
    path = written(tmp_path / f"a.{ending}", volume())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert "cut short" in refused(path)
    path.write_bytes(data[:200])
    assert refused(path)
    path.write_bytes(b"not a volume at all" * 50)
    assert "no NIfTI" in refused(path)
    if ending == "nii.gz":
        changed = bytearray(data)
        changed[-6] ^= 255
        path.write_bytes(bytes(changed))
        assert "damaged" in refused(path)


def test_a_volume_that_says_more_than_it_can_hold_is_refused_at_once(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((20_000, 20_000, 20_000))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1 << 20)))
    assert "cannot be" in refused(tmp_path / "a.nii.gz")
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(1 << 20))
    assert "cut short" in refused(tmp_path / "a.nii")


def test_there_are_three_axes(tmp_path):
    with (
        pytest.raises(UsageError, match="axis must be 0, 1 or 2"),
        open_raster_file(written(tmp_path / "a.nii", volume()), axis=3),
    ):
        pass
