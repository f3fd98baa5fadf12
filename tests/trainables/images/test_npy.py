import numpy as np
import pytest

from trainables.errors import UnreadableImageError
from trainables.images.npy import decode_npy, encode_npy


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "bool"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 4)])
def test_arrays_survive(dtype, shape):
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    for stored in (values, np.asfortranarray(values), values[::-1]):
        again = decode_npy(encode_npy(stored))
        assert again.dtype == stored.dtype
        assert np.array_equal(again, stored)


def test_decimals_that_are_not_finite_survive():
    values = np.array([[np.nan, np.inf, -0.0]], np.float32)
    assert decode_npy(encode_npy(values)).tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\x93NUMPY", b"PK\x03\x04" + bytes(100)),
        encode_npy(np.zeros((4, 4), np.uint16))[:-1],
        encode_npy(np.zeros((4, 4), np.uint16)) + b"\0",
        encode_npy(np.zeros((4, 4), np.float64)),
        encode_npy(np.zeros(4, np.uint8)),
        encode_npy(np.zeros((4, 4), np.uint16)).replace(b"(4, 4)", b"(4,-4)"),
        encode_npy(np.zeros((4, 4), np.uint16)).replace(b"'<u2'", b"'|O'  "[:5]),
        encode_npy(np.zeros((4, 4), np.uint16)).replace(b"False", b"True "),
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(UnreadableImageError):
        decode_npy(data)


def test_objects_are_not_written():
    with pytest.raises(ValueError, match="allow_pickle"):
        encode_npy(np.array([[None]], dtype=object))
