"""Rasters as bytes of a shard."""

import numpy as np
import pytest

from trainables.errors import UnreadableImageError
from trainables.images.packed_raster import MAGIC, pack, unpack
from trainables.images.raster import DATA_TYPES, Raster

BANDS = ("red", "nir")


def drawn(dtype="uint16", masked=True):
    values = np.random.default_rng(0).integers(0, 200, (5, 7, 2)).astype(dtype)
    return Raster(values, BANDS, np.arange(35).reshape(5, 7) % 3 > 0 if masked else None, "HU")


@pytest.mark.parametrize("dtype", DATA_TYPES)
@pytest.mark.parametrize("masked", [True, False])
def test_values_and_mask_come_back_exactly(dtype, masked):
    raster = drawn(dtype, masked)
    data = pack(raster)
    found = unpack(data, BANDS, "HU")
    assert data.startswith(MAGIC)
    assert found.values.dtype == dtype
    assert (found.values == raster.values).all()
    assert (found.valid is None) if not masked else (found.valid == raster.valid).all()
    assert (found.bands, found.units) == (BANDS, "HU")


def test_nan_and_extremes_are_kept():
    values = np.array([[[np.nan, np.inf], [-0.0, 3e38]]], np.float32)
    assert unpack(pack(Raster(values, BANDS)), BANDS).values.tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:40],
        lambda data: data[:-1],
        lambda data: data.replace(b"(2, 5, 7)", b"(9, 5, 7)"),
        lambda data: data.replace(b"<u2", b"|O "),
        lambda data: data.replace(b"<u2", b"<c8"),
        lambda data: b"\x89PNG" + data,
        lambda data: data + b"\0",
    ],
)
def test_damage_is_named(damage):
    with pytest.raises(UnreadableImageError):
        unpack(damage(pack(drawn())), BANDS)


def test_other_bands_than_the_format_states_are_refused():
    with pytest.raises(UnreadableImageError, match="where 3 bands"):
        unpack(pack(drawn()), ("a", "b", "c"))
