"""Padding compared as stored bits, whatever type the file gives to its value."""

import io

import dicom_files
import numpy as np
import pydicom
import pytest

from orchestrator.dicom.padding import padding_range
from orchestrator.dicom.slice import read_slice
from orchestrator.dicom.upscale import DicomError, DicomSettings, upscale_slice
from trainables.inference.prepare import prepared
from trainables.network.network import SuperResolutionNet, preset

PADDING, LIMIT = 0x00280120, 0x00280121
OUTSIDE = np.add.outer((np.arange(40) - 20) ** 2, (np.arange(40) - 20) ** 2) > 300


@pytest.fixture(scope="module")
def plain():
    return prepared(SuperResolutionNet(preset("tiny", 2)), precision="float32")


def signed(hole=-2000):
    values = dicom_files.anatomy(40, 40, -1000, 1000).round().astype(np.int16)
    values[OUTSIDE] = hole
    return values


def slice_of(values, stored, *padding):
    made = dicom_files.dataset(values, stored)
    for tag, vr, value in padding:
        made.add_new(tag, vr, value)
    return made


def upscaled(made, net):
    data, facts = upscale_slice(dicom_files.encoded(made), net, DicomSettings(digest="ab" * 32, model="tiny"))
    return pydicom.dcmread(io.BytesIO(data)), facts


TYPES = [
    ("SS", -2000),
    ("US", 63536),
    ("IS", "-2000"),
    ("DS", "-2000.0"),
    ("FD", -2000.0),
    ("SL", -2000),
    ("UL", 63536),
    ("OW", (63536).to_bytes(2, "little")),
    ("UN", (63536).to_bytes(2, "little")),
    ("LO", "-2000"),
    ("SS", [-2000, -2000]),
]


@pytest.mark.parametrize(("vr", "value"), TYPES)
def test_any_type_means_the_same_bits(plain, vr, value):
    expected, _ = upscaled(slice_of(signed(), 16, (PADDING, "SS", -2000)), plain)
    made, facts = upscaled(slice_of(signed(), 16, (PADDING, vr, value)), plain)
    np.testing.assert_array_equal(made.pixel_array, expected.pixel_array)
    np.testing.assert_array_equal(made.pixel_array == -2000, OUTSIDE.repeat(2, 0).repeat(2, 1))
    assert facts["valid_percent"] == pytest.approx(100 * (1 - OUTSIDE.mean()), abs=1e-3)
    assert (made[PADDING].VR, made[PADDING].value) == ("SS", -2000)


@pytest.mark.parametrize(("vr", "value"), [("SS", -2000), ("US", 63536), ("US", 0x830), ("SS", 0x830)])
@pytest.mark.parametrize("above", [0, 0xF000])
def test_twelve_signed_bits_with_or_without_the_sign_above_them(plain, vr, value, above):
    stored = signed()
    bits = (stored.view(np.uint16) & 0x0FFF) | np.where(stored < 0, above, 0).astype(np.uint16)
    made, _ = upscaled(slice_of(bits.view(np.int16), 12, (PADDING, vr, value)), plain)
    np.testing.assert_array_equal(made.pixel_array == -2000, OUTSIDE.repeat(2, 0).repeat(2, 1))
    assert made[PADDING].value == -2000


def test_padding_beyond_the_stored_bits_is_compared_with_all_bits(plain):
    """63536 in 12 unsigned bits would be 2096, which is a value of the patient."""
    values = dicom_files.anatomy(40, 40, 2000, 2200).round().astype(np.uint16)
    values[:, :20] = 2096
    values[OUTSIDE] = 63536
    made, _ = upscaled(slice_of(values, 12, (PADDING, "SS", -2000)), plain)
    hole = OUTSIDE.repeat(2, 0).repeat(2, 1)
    words = np.frombuffer(made.PixelData, np.uint16).reshape(hole.shape)  # pydicom's array has the stored bits alone
    np.testing.assert_array_equal(words == 63536, hole)
    assert made.pixel_array[~hole].min() > 1900
    assert made.pixel_array[~hole].max() < 2300
    assert (made[PADDING].VR, made[PADDING].value) == ("US", 63536)


@pytest.mark.parametrize(("first", "last"), [(-2000, -1900), (-1900, -2000)])
def test_a_range_in_either_order_and_in_mixed_types(plain, first, last):
    values = signed()
    values[0, :20], values[1, :20] = -1950, -1900
    expected, _ = upscaled(slice_of(values, 16, (PADDING, "SS", first), (LIMIT, "SS", last)), plain)
    made, _ = upscaled(slice_of(values, 16, (PADDING, "US", first + 65536), (LIMIT, "IS", str(last))), plain)
    np.testing.assert_array_equal(made.pixel_array, expected.pixel_array)
    hole = OUTSIDE.copy()
    hole[:2, :20] = True
    np.testing.assert_array_equal(made.pixel_array <= -1900, hole.repeat(2, 0).repeat(2, 1))
    assert (made[PADDING].value, made[LIMIT].value) == (-2000, -1900)


@pytest.mark.parametrize(
    "padding",
    [
        [(PADDING, "SS", None)],
        [(LIMIT, "SS", -2000)],
        [(PADDING, "IS", "-70000")],
        [(PADDING, "UL", 70000)],
    ],
)
def test_no_padding_or_one_that_no_pixel_can_hold(plain, padding):
    made, facts = upscaled(slice_of(signed(), 16, *padding), plain)
    assert facts["valid_percent"] == 100
    assert made[padding[0][0]].value == slice_of(signed(), 16, *padding)[padding[0][0]].value


@pytest.mark.parametrize(
    ("vr", "value", "words"),
    [
        ("SS", [-2000, 5], "one whole number is due"),
        ("FD", -2000.5, "one whole number is due"),
        ("FD", float("nan"), "not finite"),
        ("LO", "none", "numbers are due"),
        ("OW", b"\x30\xf8\x31\xf8", "one whole number is due"),
    ],
)
def test_what_is_no_number_is_a_named_failure(vr, value, words):
    with pytest.raises(DicomError, match=f"its PixelPaddingValue .*{words}") as caught:
        read_slice(dicom_files.encoded(slice_of(signed(), 16, (PADDING, vr, value))))
    assert caught.value.kind == "corrupt"


def test_eight_bits_and_an_implicit_syntax(plain):
    values = dicom_files.anatomy(40, 40, 10, 200).round().astype(np.uint8)
    values[OUTSIDE] = 255
    for vr, value in (("US", 255), ("SS", -1), ("OB", b"\xff\0")):
        made, _ = upscaled(slice_of(values, 8, (PADDING, vr, value)), plain)
        np.testing.assert_array_equal(made.pixel_array == 255, OUTSIDE.repeat(2, 0).repeat(2, 1))
    implicit = slice_of(signed(), 16, (PADDING, "SS", -2000))
    implicit.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    made, _ = upscaled(implicit, plain)
    np.testing.assert_array_equal(made.pixel_array == -2000, OUTSIDE.repeat(2, 0).repeat(2, 1))


def test_all_values_may_be_padding(plain):
    made, facts = upscaled(slice_of(signed(), 16, (PADDING, "SS", -32768), (LIMIT, "SS", 32767)), plain)
    assert facts["valid_percent"] == 0
    np.testing.assert_array_equal(made.pixel_array, signed().repeat(2, 0).repeat(2, 1))


def test_smallest_and_largest_values_get_the_sign_of_the_pixels(plain):
    made = slice_of(signed(), 16, (0x00280106, "US", 0), (0x00280107, "US", 9))
    out, _ = upscaled(made, plain)
    assert (out[0x00280106].VR, out.SmallestImagePixelValue) == ("SS", out.pixel_array.min())
    assert (out[0x00280107].VR, out.LargestImagePixelValue) == ("SS", out.pixel_array.max())


def test_the_range_itself():
    made = slice_of(signed(), 16, (PADDING, "US", 63536), (LIMIT, "SS", -1990))
    assert padding_range(made, 16, 16, True) == (-2000, -1990)
    assert padding_range(made, 16, 16, False) == (63536, 63546)
