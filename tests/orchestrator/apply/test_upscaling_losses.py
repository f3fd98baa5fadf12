"""`rayscale upscale` of plain images: what a file says beside its pixels is carried, converted or named."""

import io
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from threading import Lock

import noise_images
import numpy as np
import pytest
import tiny_models
from PIL import Image, ImageCms

from orchestrator.apply import existing_outputs as upscaling_outputs
from orchestrator.apply.picture import available_memory, upscale_picture
from orchestrator.apply.upscale import Settings, upscale_images
from orchestrator.foundation.storage import Storage
from trainables.errors import UnreadableImageError, UsageError
from trainables.images.codec import decode
from trainables.images.png_chunks import Chunk, read_chunks, with_chunks
from trainables.inference.prepare import prepared

PIXELS = np.random.default_rng(3).integers(1, 256, (16, 24, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
AUX = b"<PAMDataset><SRS>EPSG:25832</SRS></PAMDataset>"
EXIF = struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
NET = prepared(tiny_models.net(2))


def encoded(image=PIXELS, kind="PNG", **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def upscaled(data, jpeg=False, available=None):
    result = upscale_picture(data, NET, jpeg, 256, False, Lock(), available)
    image = Image.open(io.BytesIO(result.data))
    image.load()
    return image, result.note


def run(source, target="out", **settings):
    return upscale_images("base-x2", str(source), str(target), Settings(**settings), lambda done, of: None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny_models.packaged(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "in"
    place.mkdir()
    (place / "good.png").write_bytes(encoded())
    return place


@pytest.mark.parametrize(
    ("kind", "content", "info", "value"),
    [
        (b"gAMA", struct.pack(">I", 100_000), "gamma", 1.0),
        (b"cHRM", struct.pack(">8I", *range(30_000, 38_000, 1000)), "chromaticity", (0.3, 0.31, 0.32)),
        (b"sRGB", b"\1", "srgb", 1),
        (b"tEXt", b"Copyright\0somebody", "Copyright", "somebody"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"long"), "Comment", "long"),
        (b"iTXt", "Title\0\0\0de\0Titel\0Küste".encode(), "Title", "Küste"),
    ],
)
def test_chunks_of_colour_and_text_are_carried_from_png_to_png(kind, content, info, value):
    image, note = upscaled(with_chunks(encoded(), [Chunk(kind, content)]))
    found = image.info[info]
    assert (found[:3] if isinstance(found, tuple) else found) == value
    assert note is None


@pytest.mark.parametrize("kind", [b"cICP", b"mDCV", b"cLLI"])
def test_chunks_of_high_dynamic_range_are_carried_as_they_are(kind):
    content = b"\x09\x10\0\1" if kind == b"cICP" else bytes(range(24 if kind == b"mDCV" else 8))
    data = upscale_picture(with_chunks(encoded(), [Chunk(kind, content)]), NET, False, 256, False, Lock()).data
    assert Chunk(kind, content) in read_chunks(data)


def test_gamma_and_text_are_named_where_a_jpeg_is_made():
    data = with_chunks(encoded(), [Chunk(b"gAMA", struct.pack(">I", 100_000)), Chunk(b"tEXt", b"a\0b")])
    _, note = upscaled(data, jpeg=True)
    assert note == (
        "its gamma and primaries were dropped, since JPEG has none; write .png to keep them; its text was dropped; "
        "write .png to keep it"
    )


def bmp_with_profile():
    data = bytearray(encoded(kind="BMP"))
    pixels = data[54:]
    header = bytearray(124)
    header[:40] = data[14:54]
    struct.pack_into("<I", header, 0, 124)
    header[56:60] = b"DEBM"
    struct.pack_into("<II", header, 112, 124 + len(pixels), len(PROFILE))
    return bytes(data[:10]) + struct.pack("<I", 14 + 124) + bytes(header) + bytes(pixels) + PROFILE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("jpeg", [False, True])
def test_a_colour_profile_is_carried_from_every_format(kind, jpeg):
    data = bmp_with_profile() if kind == "BMP" else encoded(kind=kind, icc_profile=PROFILE)
    image, note = upscaled(data, jpeg)
    assert (image.info["icc_profile"], note) == (PROFILE, None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("jpeg", [False, True])
def test_exif_and_xmp_are_carried_and_say_that_the_result_is_upright(kind, jpeg):
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "somebody"
    exif.get_ifd(0x8825)[1] = "N"
    options = {"exif": exif.tobytes()}
    if kind != "PNG":
        options["xmp"] = b'<rdf:Description tiff:Orientation="6" dc:title="Sea"/>'
    image, note = upscaled(encoded(kind=kind, **options), jpeg)
    assert image.size == (32, 48)
    carried = image.getexif()
    assert (carried[0x0112], carried[0x013B], carried.get_ifd(0x8825)[1], note) == (1, "somebody", "N", None)
    if kind != "PNG":
        xmp = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
        assert xmp == b'<rdf:Description tiff:Orientation="1" dc:title="Sea"/>'


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_density_is_multiplied_so_that_the_size_on_paper_stays(kind):
    for jpeg in (False, True):
        image, _ = upscaled(encoded(kind=kind, dpi=(72, 150)), jpeg)
        assert tuple(round(float(each)) for each in image.info["dpi"]) == (144, 300)
    turned, _ = upscaled(encoded(kind="JPEG", dpi=(72, 150), exif=b"Exif\0\0" + EXIF))
    assert tuple(round(float(each)) for each in turned.info["dpi"]) == (300, 144)


def test_pixels_that_are_no_squares_stay_so():
    data = with_chunks(encoded(), [Chunk(b"pHYs", struct.pack(">IIB", 4, 3, 0))])
    assert upscaled(data)[0].info["aspect"] == (4, 3)


def test_no_density_is_made_up():
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        assert not {"dpi", "aspect"} & set(upscaled(encoded(kind=kind))[0].info)


@pytest.mark.parametrize("density", [(1e9, 1e9), (0.5, 300.0), (0.0, 0.0)])
def test_a_density_that_makes_no_sense_stops_nothing(density):
    for jpeg in (False, True):
        image, _ = upscaled(tiff_with((282, density[0]), (283, density[1]), (296, 2)), jpeg)
        assert "dpi" not in image.info


def test_a_file_that_says_nothing_more_comes_out_as_pixels_alone():
    data = upscale_picture(encoded(), NET, False, 256, False, Lock()).data
    assert {chunk.kind for chunk in read_chunks(data)} == {b"IHDR", b"IDAT", b"IEND"}


def with_segment(data, marker, content):
    return data[:2] + struct.pack(">BBH", 255, marker, len(content) + 2) + content + data[2:]


def tiff_with(*tags):
    info = Image.Exif()
    for tag, value in tags:
        info[tag] = value
    return encoded(kind="TIFF", tiffinfo=info)


def bmp_of_32_bits():
    bands = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 9, np.uint8)])[::-1]
    return (
        b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 24, 16, 1, 32, *[0] * 6)
        + bands.tobytes()
    )


JPEG = encoded(kind="JPEG")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"), "its CMYK colours became RGB by the plain formula"),
        (encoded(kind="MPO", save_all=True, append_images=[Image.fromarray(PIXELS)]), "its further pictures"),
        (with_segment(JPEG, 0xE1, b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'), "its HDR gain map"),
        (with_segment(JPEG, 0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(8)), "its HDR gain map"),
        (with_segment(JPEG, 0xED, b"Photoshop 3.0\08BIM\4\4\0\0\0\0\0\4abcd"), "its IPTC data were left out"),
        (with_segment(JPEG, 0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(50)), "the extended part of its XMP"),
        (with_segment(JPEG, 0xE1, b"Exif\0\0not a block"), "its EXIF data could not be read"),
        (tiff_with((270, "a view"), (315, "somebody")), r"its tags \(description, artist\) were left out"),
        (tiff_with((318, (0.3, 0.3)), (319, (0.6,) * 6)), r"its colour tags \(white point, primaries\)"),
        (bmp_of_32_bits(), "the fourth byte of its pixels"),
        (bmp_with_profile().replace(b"DEBM", b"KNIL"), "the colour profile that it names by a file was not read"),
        (bmp_with_profile()[:70] + bytes(4) + b"\7" + bmp_with_profile()[75:], "its gamma and primaries were left out"),
    ],
)
def test_what_is_converted_or_left_out_is_named(data, words):
    note = upscaled(data)[1]
    assert note is not None
    assert re.search(words, note), note


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(save_all=True, append_images=[Image.fromarray(255 - PIXELS)]), "it holds 2 images"),
        (encoded(kind="WEBP", save_all=True, append_images=[Image.fromarray(255 - PIXELS)]), "it holds 2 images"),
        (encoded(kind="TIFF", save_all=True, append_images=[Image.fromarray(PIXELS)]), "it holds 2 images"),
        (tiff_with((42113, "0")), "it marks pixels without a value"),
        (tiff_with((33550, (1.0, 1.0, 0.0))), "it is georeferenced, .* --as cog keeps it"),
        (tiff_with((50844, tuple([1.0] * 92))), "it is georeferenced"),
        (encoded(Image.fromarray(PIXELS).convert("LAB"), "TIFF"), "pixel mode LAB is not 8-bit gray or colour"),
    ],
)
def test_what_cannot_be_kept_at_all_is_refused(data, words):
    with pytest.raises(UnreadableImageError, match=words):
        upscaled(data)


def test_hidden_colour_does_not_reach_the_edge():
    rows, columns = np.mgrid[0:48, 0:48]
    visible = (rows - 24) ** 2 + (columns - 22) ** 2 < 15**2
    results = []
    for hidden in ((230, 190, 60), (0, 0, 0), (0, 255, 0)):
        colours = np.where(visible[..., None], np.uint8([230, 190, 60]), np.uint8(hidden))
        image, _ = upscaled(encoded(np.dstack([colours, visible * np.uint8(255)]).astype(np.uint8)))
        bands = np.asarray(image).astype(float)
        results.append(bands[..., :3] * bands[..., 3:] / 255 + 255 - bands[..., 3:])
    assert np.abs(results[1] - results[0]).max() < 3
    assert np.abs(results[2] - results[0]).max() < 3


@pytest.mark.parametrize(
    ("image", "beside"),
    [
        ("tile.jpg", "tile.jgw"),
        ("tile.jpg", "tile.jpgw"),
        ("tile.jpeg", "tile.jgw"),
        ("tile.png", "tile.pgw"),
        ("TILE.PNG", "TILE.PGW"),
        ("tile.png", "tile.wld"),
        ("tile.png", "tile.png.wld"),
        ("tile.png", "tile.tab"),
        ("tile.bmp", "tile.bpw"),
        ("tile.webp", "tile.webpw"),
        ("tile.tif", "tile.tfw"),
        ("tile.jpg", "tile.jpg.aux.xml"),
        ("deep/tile.jpg", "deep/tile.aux.xml"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_picture_whose_place_lies_beside_it_is_named(folder, image, beside, alone):
    (folder / "deep").mkdir()
    kind = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF"}.get(
        image.rpartition(".")[2].lower(), image.rpartition(".")[2]
    )
    (folder / image).write_bytes(encoded(kind=kind.upper()))
    (folder / beside).write_bytes(AUX if beside.endswith(".xml") else b"0.2\n0\n0\n-0.2\n5e5\n56e5\n")
    report = run(folder / image if alone else folder)
    (failed,) = report["failed"]
    assert failed["file"] == (Path(image).name if alone else image)
    assert failed["reason"] == (
        f"it is georeferenced by '{Path(beside).name}' beside it, and its place on earth would be lost: make it a "
        "GeoTIFF, or move that file away"
    )
    assert report["written"] == (0 if alone else 1)


def test_statistics_beside_a_picture_are_no_place_and_missing_values_are_named(folder):
    (folder / "good.png.aux.xml").write_bytes(b"<PAMDataset><Histograms/></PAMDataset>")
    (folder / "b.png").write_bytes(encoded())
    (folder / "b.png.aux.xml").write_bytes(b"<PAMDataset><NoDataValue>0</NoDataValue></PAMDataset>")
    report = run(folder)
    assert report["written"] == 1
    assert "some of its values mean nothing" in report["failed"][0]["reason"]


def test_a_model_that_gives_no_numbers_never_makes_a_black_picture(folder, monkeypatch):
    monkeypatch.setattr(
        "orchestrator.apply.image_network.prepared",
        lambda *arguments: replace(NET, run=lambda lr: NET.run(lr) * float("nan")),
    )
    report = run(folder)
    assert report["written"] == 0
    assert report["failed"][0]["reason"].startswith("the model's output is not finite here")
    assert not list(Path("out").rglob("*.png"))


def test_what_takes_more_memory_than_is_free_is_refused_with_the_way_out():
    with pytest.raises(UnreadableImageError, match=r"24×16 pixels take .* GB of memory at ×2, .* GeoTIFF"):
        upscaled(encoded(), available=10_000)
    assert upscaled(encoded(), available=16 * 24 * 4 * 10)[0].size == (48, 32)
    found = available_memory()
    assert found is None or found > 1 << 20


@pytest.mark.parametrize("cut", [1, 7, 13, 500])
@pytest.mark.parametrize("name", ["good.png", "good.jpg"])
def test_an_output_that_broke_off_elsewhere_is_never_finished(folder, cut, name):
    Path("out").mkdir()
    target = Path("out", name)
    whole = encoded(kind="JPEG" if name.endswith(".jpg") else "PNG")
    target.write_bytes(whole[:-cut])
    report = run(folder / "good.png", target)
    assert (report["written"], report["skipped"]) == (0, 0)
    kind = "JPEG" if name.endswith(".jpg") else "PNG"
    assert report["failed"] == [
        {
            "file": "good.png",
            "reason": f"its output exists and is no whole {kind}: remove it, or make it again with --overwrite",
        }
    ]
    assert target.read_bytes() == whole[:-cut]  # it may be somebody's
    assert run(folder / "good.png", target, overwrite=True)["written"] == 1
    assert run(folder / "good.png", target)["skipped"] == 1
    assert decode(target.read_bytes()).width == 48


def test_other_kinds_and_empty_files(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"")
    (tmp_path / "a.png").write_bytes(b"")
    assert upscaling_outputs.is_whole(Storage(str(tmp_path / "a.dcm")))
    assert not upscaling_outputs.is_whole(Storage(str(tmp_path / "a.png")))
    assert not upscaling_outputs.is_whole(Storage(str(tmp_path / "none.png")))
    assert upscaling_outputs.is_whole(Storage("s3://bucket/a.png"))


def test_an_output_that_is_an_input_through_a_link_is_refused(folder):
    (folder / "deep").mkdir()
    noise_images.write(folder / "deep", ["b.png"], (8, 8))
    before = (folder / "deep/b.png").read_bytes()
    Path("out").mkdir()
    Path("out/deep").symlink_to(folder / "deep")
    with pytest.raises(UsageError, match="must lie outside INPUT"):
        run(folder, overwrite=True)
    Path("linked").symlink_to(folder)
    with pytest.raises(UsageError, match="must lie outside INPUT"):
        run(folder / "good.png", "linked/good.png", overwrite=True)
    assert (folder / "deep/b.png").read_bytes() == before


def test_a_link_at_the_place_of_an_output_is_replaced_and_what_it_leads_to_is_not(folder):
    Path("precious").write_bytes(b"precious")
    Path("out").mkdir()
    Path("out/good.png").symlink_to(Path("precious").absolute())
    assert run(folder, overwrite=True)["written"] == 1
    assert Path("precious").read_bytes() == b"precious"
    assert not Path("out/good.png").is_symlink()
