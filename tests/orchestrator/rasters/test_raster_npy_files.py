import pickle

import numpy as np
import pytest

from orchestrator.rasters.open_raster_file import open_raster_file
from trainables.errors import UnreadableImageError


def saved(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    return tmp_path / "a.npy"


def whole(path):
    with open_raster_file(path) as file:
        return file, file.read(0, 0, 0, file.height, file.width)


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        *((name, name) for name in ("uint8", "uint16", "int16", "float32")),
        *(("int8", "int16"), ("float16", "float32"), ("float64", "float32"), (">u2", "uint16"), (">f8", "float32")),
    ],
)
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3), (20, 30, 5)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_values(tmp_path, dtype, given, shape, order):
    values = np.asarray(np.random.default_rng(0).integers(0, 120, shape).astype(dtype), order=order)
    path = saved(tmp_path, values)
    file, raster = whole(path)
    count = 1 if len(shape) == 2 else shape[2]
    names = {1: ("gray",), 3: ("red", "green", "blue")}
    assert file.bands == names.get(count, ("band1", "band2", "band3", "band4", "band5"))
    assert file.dtype == raster.values.dtype.name == given
    assert np.array_equal(raster.values, values.reshape(20, 30, count))
    assert (raster.valid, file.layers, file.units) == (None, 1, "")
    with open_raster_file(path) as file:
        assert np.array_equal(file.read(0, 2, 3, 4, 5).values, values.reshape(20, 30, count)[2:6, 3:8])


def test_values_that_are_not_finite_are_invalid(tmp_path):
    values = np.ones((8, 9, 2), np.float64)
    values[3, 4, 1], values[0, 0] = np.nan, np.inf
    assert np.argwhere(~whole(saved(tmp_path, values))[1].valid).tolist() == [[0, 0], [3, 4]]


class Harm:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[Harm()]], dtype=object), allow_pickle=True)
    with pytest.raises(UnreadableImageError, match="Python objects"):
        whole(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(UnreadableImageError, match=r"no \.npy"):
        whole(tmp_path / "b.npy")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((4, 4), np.int64), "values are int64"),
        (np.zeros((4, 4), bool), "values are bool"),
        (np.zeros((4, 4), complex), "values are complex128"),
        (np.zeros((4, 4), [("a", "u1")]), "values are void8"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((4, 4, 4, 4), np.uint8), "shape"),
        (np.zeros((4, 0), np.uint8), "shape|cut short"),
        (np.zeros((4, 4, 600), np.uint8), "at most 512 bands"),
        (np.full((4, 4), 1e100), "fit neither"),
    ],
)
def test_other_arrays_are_refused(tmp_path, values, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        whole(saved(tmp_path, values))


def test_damaged_files_are_refused(tmp_path):
    path = saved(tmp_path, np.zeros((100, 100), np.uint16))
    data = path.read_bytes()
    for changed in (data[:5000], data[:60], data.replace(b"(100, 100)", b"(10**9, 1)"), b"PK" + data):
        path.write_bytes(changed)
        with pytest.raises(UnreadableImageError):
            whole(path)
    path.write_bytes(data.replace(b"(100, 100), ", b"(99999999, 99999999), "))
    with pytest.raises(UnreadableImageError, match="cut short"):
        whole(path)
