"""DICOM files damaged at random: an output that opens, or a failure with a name, and never anything else."""

import io
import os
import time
import warnings
from dataclasses import replace

import dicom_files
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from orchestrator.dicom.upscale import DicomError, DicomSettings, upscale_slice
from trainables.inference.prepare import prepared
from trainables.network.network import SuperResolutionNet, preset

CASES = int(os.environ.get("FUZZ_CASES", "100"))
HOW = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=CASES < 1000)
VRS = "AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def net():
    """Twice as many pixels without a network's time."""
    made = prepared(SuperResolutionNet(preset("tiny", 2)), precision="float32")
    return replace(made, run=lambda lr: lr.repeat_interleave(2, -1).repeat_interleave(2, -2))


def sources():
    values = dicom_files.anatomy(12, 10).round().astype(np.uint16)
    region = pydicom.Dataset()
    region.RegionLocationMinX0, region.RegionLocationMaxX1 = 1, 8
    region.ReferencePixelX0, region.ReferencePixelPhysicalValueX, region.PhysicalDeltaX = 4, 1.0, 0.1
    signed = dicom_files.dataset((values.astype(np.int16) - 2048), 16, RescaleSlope=1.5)
    signed.add_new(0x00280120, "SS", -2000)
    signed.add_new(0x00280121, "SS", -1990)
    ultrasound = dicom_files.dataset(values, 12, Modality="US", SequenceOfUltrasoundRegions=Sequence([region]))
    portal = dicom_files.dataset(values, 12, ImagePlanePixelSpacing=[0.8, 0.8], RTImagePosition=[-31, 25])
    portal.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    private = dicom_files.dataset(values, 12, SmallestImagePixelValue=0, ShutterLeftVerticalEdge=3)
    private.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x28, "FD", 12.5)
    private.private_block(0x0099, "NOBODY", create=True).add_new(0x01, "SQ", Sequence([region]))
    deflated = dicom_files.dataset(values, 12)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    coded = dicom_files.dataset(values, 12)
    coded.compress(RLELossless, generate_instance_uid=False)
    return [dicom_files.encoded(each) for each in (signed, ultrasound, portal, private, deflated, coded)]


SOURCES = sources()


def check(data, net, as_tiff, normalisation):
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failure = None
        try:
            how = DicomSettings(digest="ab" * 32, model="tiny", normalisation=normalisation)
            made, facts = upscale_slice(data, net, how, as_tiff)
        except DicomError as error:
            failure = error
        if failure is not None:
            assert str(failure)
            assert "\n" not in str(failure)
            assert failure.kind in ("unreadable", "corrupt", "unsupported", "normalisation")
        elif not as_tiff:
            written = pydicom.dcmread(io.BytesIO(made))
            assert written.pixel_array.shape == (facts["height"], facts["width"])
    assert time.monotonic() - start < 20


ways = {"as_tiff": st.booleans(), "normalisation": st.sampled_from(["stored", "window", (-100.0, 500.0)])}


@HOW
@given(source=st.sampled_from(range(len(SOURCES))), edits=st.data(), **ways)
def test_damaged_bytes(net, source, edits, as_tiff, normalisation):
    data = bytearray(SOURCES[source])
    for _ in range(edits.draw(st.integers(1, 4))):
        at = edits.draw(st.integers(120, len(data) - 1))
        kind = edits.draw(st.sampled_from(["set", "insert", "delete", "cut", "copy"]))
        if kind == "set":
            data[at] = edits.draw(st.integers(0, 255))
        elif kind == "insert":
            data[at:at] = edits.draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del data[at : at + edits.draw(st.integers(1, 8))]
        elif kind == "cut":
            del data[at:]
        else:
            other = edits.draw(st.integers(120, len(data) - 1))
            data[at:at] = data[other : other + 30]
        if len(data) < 200:
            break
    check(bytes(data), net, as_tiff, normalisation)


def values_of(edits):
    kind = edits.draw(st.sampled_from(["bytes", "digits", "text", "extreme"]))
    if kind == "bytes":
        return edits.draw(st.binary(max_size=24))
    if kind == "text":
        return edits.draw(st.text(max_size=12)).encode()
    if kind == "digits":
        numbers = st.one_of(
            st.integers(-(2**33), 2**33), st.floats(), st.sampled_from(["", "NaN", "1e999", "+", "0x1"])
        )
        return "\\".join(map(str, edits.draw(st.lists(numbers, max_size=7)))).encode()
    return edits.draw(
        st.sampled_from([b"\0" * 4, b"\xff" * 8, b"\xff\x7f", b"\0\x80", b"1\\2", b"\xfe\xff\x00\xe0" * 3])
    )


def element(tag, vr, value):
    head = tag.to_bytes(4, "little")[2:] + tag.to_bytes(4, "little")[:2] + vr.encode()
    value += b"\0" * (len(value) % 2)
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return head + b"\0\0" + len(value).to_bytes(4, "little") + value
    return head + len(value).to_bytes(2, "little") + value


def raw_elements(data):
    """Each element of an explicit little-endian file with short heads and long ones, by tag."""
    at, found = 144 + int.from_bytes(data[140:144], "little"), {}
    start = at
    while at < len(data):
        group, number, vr = data[at : at + 2], data[at + 2 : at + 4], data[at + 4 : at + 6]
        long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        head = 12 if long else 8
        size = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
        found[int.from_bytes(group, "little") << 16 | int.from_bytes(number, "little")] = data[at : at + head + size]
        at += head + size
    return data[:start], found


FOR_SURE = [0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00280121]
FOR_SURE += [0x00280004, 0x00280002, 0x00280008, 0x00200032, 0x00200037, 0x00281052, 0x00281053, 0x00281050, 0x00281051]
FOR_SURE += [0x00080018, 0x00080016, 0x00080060, 0x0020000D, 0x0020000E, 0x00080008, 0x0008103E, 0x7FE00010, 0x00082111]
FOR_SURE += [0x00280106, 0x00280107, 0x00186011, 0x00181602, 0x30020011, 0x30020012, 0x00540022, 0x00082112, 0x00080005]
FOR_SURE += [0x00540081, 0x00541001, 0x60000010, 0x60003000, 0x00191028, 0x00990010, 0x00991001, 0x00700022, 0x00281056]
TAGS = st.one_of(st.sampled_from(FOR_SURE), st.sampled_from(sorted(pydicom.datadict.DicomDictionary)))


@HOW
@given(edits=st.data(), source=st.sampled_from([0, 1, 3]), **ways)
def test_elements_of_any_type_and_value(net, edits, source, as_tiff, normalisation):
    head, elements = raw_elements(SOURCES[source])
    for _ in range(edits.draw(st.integers(1, 3))):
        tag = edits.draw(TAGS)
        if tag >> 16 <= 2:
            continue
        if edits.draw(st.integers(0, 5)) == 0:
            elements.pop(tag, None)
        else:
            elements[tag] = element(tag, edits.draw(st.sampled_from(VRS)), values_of(edits))
    check(head + b"".join(elements[tag] for tag in sorted(elements)), net, as_tiff, normalisation)


def test_the_unharmed_ones_come_out(net):
    for data in SOURCES:
        for as_tiff in (False, True):
            upscale_slice(data, net, DicomSettings(digest="ab" * 32, model="tiny"), as_tiff)
    head, elements = raw_elements(SOURCES[0])
    assert head + b"".join(elements.values()) == SOURCES[0]
