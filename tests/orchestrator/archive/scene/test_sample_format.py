"""All that a header says of its samples: carried, converted, refused or named, with the pixel values that follow."""

import archive_scenes as scenes
import made_tiffs
import numpy as np
import pytest
import rasterio
from PIL import Image, ImageCms, PngImagePlugin

from orchestrator.archive.scene.geotiff import tiff_tags
from orchestrator.archive.scene.reader import Scene, gdal
from orchestrator.archive.scene.types import SceneError, SceneSettings
from orchestrator.archive.scene.upscale import check_scene

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)


def seen(path):
    """What is upscaled, (bands, H, W), and what is said of it."""
    with gdal(), Scene(path) as scene:
        return scene.strip(0, scene.facts.height).pixels, scene


def planes(pixels):
    return np.moveaxis(np.atleast_3d(pixels), -1, 0)


def as_viewed(pixels, orientation):
    """TIFF 6.0, section 8, by its words: where the stored first row and column are."""
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }
    return turned[orientation](pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["tif", "png", "webp"])
def test_every_orientation_is_applied(tmp_path, orientation, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "tif":
        made_tiffs.write(path, RGB, tags={274: (3, [orientation])})
    else:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(RGB).save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    expected = planes(as_viewed(RGB, orientation))
    pixels, scene = seen(path)
    np.testing.assert_array_equal(pixels, expected)
    assert (scene.facts.height, scene.facts.width) == expected.shape[1:]
    with gdal(), Scene(path) as scene:
        parts = [scene.strip(first, min(first + 7, scene.facts.height)).pixels for first in (0, 3, 9, 16)]
    for first, part in zip((0, 3, 9, 16), parts, strict=True):
        np.testing.assert_array_equal(part, expected[:, first : first + part.shape[1]])


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_scan_comes_out_upright_with_its_mask_in_parts(tmp_path, orientation):
    tall = RNG.integers(0, 256, (150, 160, 3), dtype=np.uint8)
    turned = scenes.run(made_tiffs.write(tmp_path / "a.tif", tall, tags={274: (3, [orientation])}), tmp_path, scale=2)
    upright = made_tiffs.write(tmp_path / "b.tif", np.ascontiguousarray(as_viewed(tall, orientation)))
    plain = scenes.run(upright, tmp_path, scale=2, name="b-out.tif", parts=2)
    np.testing.assert_array_equal(scenes.read(turned.path), scenes.read(plain.path))
    assert f"its orientation ({orientation}) was applied" in turned.notes
    assert plain.notes == ["georef: none"]


def test_a_jpegs_orientation_is_applied_and_not_handed_on(tmp_path):
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif, quality=95)
    out = scenes.run(tmp_path / "a.jpg", tmp_path)
    assert (out.width, out.height) == (80, 120)
    with gdal(), rasterio.open(out.path) as target:
        assert target.tags()["EXIF_Make"] == "Maker"
        assert not {"EXIF_Orientation", "EXIF_PixelXDimension", "EXIF_XResolution"} & target.tags().keys()


def test_on_a_map_orientation_is_named_and_its_place_kept(tmp_path):
    path = made_tiffs.write(tmp_path / "a.tif", RGB, tags={274: (3, [6])})
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n5\n-5\n")
    out = scenes.run(path, tmp_path)
    assert "its orientation (6) was left out, since its place refers to the rows as stored" in out.notes
    with gdal(), rasterio.open(out.path) as target:
        assert (target.width, target.height) == (120, 80)
        assert target.transform == rasterio.Affine(2.5, 0, 0, 0, -2.5, 0)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_are_read_from_classic_and_big_tiffs_of_either_order(tmp_path, order, big):
    path = made_tiffs.write(tmp_path / "a.tif", RGB, tags={274: (3, [8])}, order=order, big=big, pages=2)
    first, second = tiff_tags.directories(path)
    assert first == second
    assert first[274] == (8,)
    assert first[258] == (8, 8, 8)
    np.testing.assert_array_equal(seen(path)[0], planes(as_viewed(RGB, 8)))


@pytest.mark.parametrize("kind", ["tif", "png", "jpg", "webp", "jp2"])
def test_a_colour_profile_is_kept(tmp_path, kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(RGB).save(tmp_path / f"a.{kind}", icc_profile=profile)
    if kind == "jp2":  # Pillow writes none: put it into the colour specification box
        data = (tmp_path / "a.jp2").read_bytes()
        place = data.index(b"colr") - 4
        box = (len(profile) + 11).to_bytes(4, "big") + b"colr\2\0\0" + profile
        grown = int.from_bytes(data[data.index(b"jp2h") - 4 : data.index(b"jp2h")], "big") + len(box) - 15
        head = data.index(b"jp2h") - 4
        data = data[:head] + grown.to_bytes(4, "big") + data[head + 4 : place] + box + data[place + 15 :]
        (tmp_path / "a.jp2").write_bytes(data)
    out = scenes.run(tmp_path / f"a.{kind}", tmp_path)
    with Image.open(out.path) as image:
        assert image.info.get("icc_profile") == profile


def test_alpha_that_multiplies_colours_is_divided_out(tmp_path):
    alpha = np.tile(np.linspace(0, 255, 30).round().astype(np.uint8), (20, 1))
    multiplied = (RGB * (alpha[..., None] / 255)).round().astype(np.uint8)
    path = made_tiffs.write(tmp_path / "a.tif", np.dstack([multiplied, alpha]), tags={338: (3, [1])})
    pixels, scene = seen(path)
    far = np.abs(pixels.astype(int) - planes(RGB))[:, :, 3:] * (alpha[0, 3:] / 255)
    assert far.max() <= 1, "no more than was lost by rounding"
    assert scene.notes == ["colours were multiplied by alpha and no longer are"]
    out = scenes.run(path, tmp_path)
    with Image.open(out.path) as image:
        assert image.tag_v2[338] == (2,)
    straight = made_tiffs.write(tmp_path / "b.tif", np.dstack([RGB, alpha]), tags={338: (3, [2])})
    np.testing.assert_array_equal(seen(straight)[0], planes(RGB))
    assert seen(straight)[1].notes == []
    unknown = made_tiffs.write(tmp_path / "c.tif", np.dstack([RGB, alpha]), tags={338: (3, [0])})
    assert seen(unknown)[1].alpha is None


def test_white_at_zero_is_turned_round_in_bytes_and_refused_beyond(tmp_path):
    path = made_tiffs.write(tmp_path / "a.tif", 255 - GRAY, tags={262: (3, [0])})
    pixels, scene = seen(path)
    np.testing.assert_array_equal(pixels[0], GRAY)
    assert scene.colours == ["gray"]
    assert scene.notes == ["its white was 0 (MinIsWhite) and is 255"]
    deep = made_tiffs.write(tmp_path / "b.tif", GRAY.astype(np.uint16), tags={262: (3, [0])})
    with pytest.raises(SceneError, match=r"white is 0 .* in uint16") as error:
        check_scene(deep, scenes.model().facts, SceneSettings(normalisation=(0, 255)))
    assert error.value.kind == "unsupported"


@pytest.mark.parametrize("kind", ["group4", "zero-is-black", "zero-is-white", "png"])
def test_pages_in_black_and_white_become_gray(tmp_path, kind):
    page = GRAY > 127
    path = tmp_path / ("a.png" if kind == "png" else "a.tif")
    if kind in ("group4", "png"):
        Image.fromarray(page).save(path, **({"compression": "group4"} if kind == "group4" else {}))
    else:
        white_is_zero = kind == "zero-is-white"
        packed = np.packbits(page ^ white_is_zero, axis=1)
        shape = {256: (4, [30]), 258: (3, [1]), 262: (3, [0 if white_is_zero else 1])}
        made_tiffs.write(path, packed, tags=shape)
    pixels, scene = seen(path)
    np.testing.assert_array_equal(pixels[0], page * 255)
    assert scene.facts.dtype == "uint8"
    assert any("1-bit values became 8-bit" in note for note in scene.notes)
    assert np.ptp(scenes.read(scenes.run(path, tmp_path / ".", name="out.tif").path)) > 200


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_become_the_same_shades(tmp_path, bits):
    values = GRAY >> (8 - bits)
    with (
        gdal(),
        rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", width=30, height=20, count=1, dtype="uint8", nbits=bits
        ) as target,
    ):
        target.write(values, 1)
    np.testing.assert_array_equal(seen(tmp_path / "a.tif")[0][0], values.astype(int) * 255 // (2**bits - 1))


def test_few_bits_on_a_map_keep_their_values(tmp_path):
    path = scenes.write(tmp_path / "a.tif", (GRAY >> 4)[None], nbits=4)
    np.testing.assert_array_equal(seen(path)[0][0], GRAY >> 4)


@pytest.mark.parametrize("planar", ["pixel", "band"])
@pytest.mark.parametrize("compress", ["lzw", "deflate", "zstd", "packbits", "lerc", "lzma"])
def test_layouts_and_lossless_compressions_are_read(tmp_path, planar, compress):
    predictor = {"predictor": 2} if compress in ("lzw", "deflate", "zstd") else {}
    path = scenes.write(
        tmp_path / "a.tif", planes(RGB), photometric="rgb", interleave=planar, compress=compress, **predictor
    )
    np.testing.assert_array_equal(seen(path)[0], planes(RGB))


@pytest.mark.parametrize("compress", ["jpeg", "webp"])
def test_lossy_compressions_are_read_as_colours(tmp_path, compress):
    smooth = np.tile(np.linspace(0, 255, 30)[None, :, None], (20, 1, 3)).astype(np.uint8)
    smooth[..., 2] = 255 - smooth[..., 2]
    photometric = "ycbcr" if compress == "jpeg" else "rgb"
    path = scenes.write(tmp_path / "a.tif", planes(smooth), photometric=photometric, compress=compress)
    assert np.abs(seen(path)[0].astype(int) - planes(smooth)).mean() < 6
    out = scenes.run(path, tmp_path)
    with gdal(), rasterio.open(out.path) as target:
        assert [colour.name for colour in target.colorinterp] == ["red", "green", "blue"]


def test_bits_in_reverse_order_are_read(tmp_path):
    page = GRAY > 127
    packed = np.packbits(page, axis=1, bitorder="little")
    path = made_tiffs.write(tmp_path / "a.tif", packed, tags={256: (4, [30]), 258: (3, [1]), 266: (3, [2])})
    np.testing.assert_array_equal(seen(path)[0][0], page * 255)


@pytest.mark.parametrize("mode", ["CMYK", "LAB"])
def test_cmyk_and_lab_become_rgb_and_say_so(tmp_path, mode):
    source = Image.fromarray(RGB)
    if mode == "CMYK":
        source.convert("CMYK").save(tmp_path / "a.tif")
    else:
        profile = ImageCms.createProfile("LAB")
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), profile, "RGB", "LAB")
        ImageCms.applyTransform(source, to_lab).save(tmp_path / "a.tif")
    out = scenes.run(tmp_path / "a.tif", tmp_path)
    assert f"{'CMYK' if mode == 'CMYK' else 'L*a*b*'} was converted to RGB" in out.notes
    assert out.bands == 3
    pixels, _ = seen(tmp_path / "a.tif")
    assert np.abs(pixels.astype(int) - planes(RGB)).mean() < 30


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({262: (3, [4])}, "a transparency mask"),
        ({262: (3, [32803])}, "a colour filter array"),
        ({262: (3, [34892])}, "linear raw samples"),
        ({50706: (1, [1, 4, 0, 0])}, "raw data"),
        ({254: (4, [1])}, "a preview"),
    ],
)
def test_samples_that_are_no_gray_or_colour_are_refused(tmp_path, tags, reason):
    with pytest.raises(SceneError, match=reason) as error:
        seen(made_tiffs.write(tmp_path / "a.tif", GRAY, tags=tags))
    assert error.value.kind in ("unsupported", "unreadable")


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int32, np.float64, np.complex64, np.complex128])
def test_other_data_types_are_refused_by_name(tmp_path, dtype):
    path = scenes.write(tmp_path / "a.tif", np.zeros((1, 8, 8), dtype))
    with pytest.raises(SceneError, match=f"Its data type is {np.dtype(dtype).name}") as error:
        seen(path)
    assert error.value.kind == "unsupported"


def test_half_floats_are_read(tmp_path):
    values = RNG.random((1, 20, 30)).astype(np.float16).astype(np.float32)
    path = scenes.write(tmp_path / "a.tif", values, nbits=16)
    np.testing.assert_array_equal(seen(path)[0], values)


def test_what_else_a_file_holds_is_named(tmp_path):
    tags = {330: (4, [8]), 34665: (4, [8]), 532: (5, [0, 1, 255, 1] * 3)}
    path = made_tiffs.write(tmp_path / "a.tif", RGB, tags=tags, pages=3)
    assert seen(path)[1].notes == [
        "it holds 3 images; all but the first were left out",
        "images in SubIFDs (1) were left out",
        "EXIF tags were left out",
        "ReferenceBlackWhite was left out",
    ]
    scenes.write(tmp_path / "b.tif", scenes.pixels(1, 300, 300))
    with gdal(), rasterio.open(tmp_path / "b.tif", "r+") as target:
        target.write_mask(np.ones((300, 300), bool))
        target.build_overviews([2, 4])
    assert seen(tmp_path / "b.tif")[1].notes == [], "overviews and masks are no further images"


def test_animations_and_gammas_are_named(tmp_path):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for name in ("a.png", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert seen(tmp_path / "a.png")[1].notes == ["it holds 2 images; all but the first were left out"]
    with pytest.raises(SceneError, match="an animation of 2 images"):
        seen(tmp_path / "a.webp")
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (100_000).to_bytes(4, "big"))
    frames[0].save(tmp_path / "b.png", pnginfo=info)
    assert seen(tmp_path / "b.png")[1].notes == ["its gamma of 1 was left out"]
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (45_455).to_bytes(4, "big"))
    frames[0].save(tmp_path / "c.png", pnginfo=info)
    assert seen(tmp_path / "c.png")[1].notes == []


def test_a_print_stays_as_large(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.tif", dpi=(300, 150))
    out = scenes.run(tmp_path / "a.tif", tmp_path, scale=2)
    with Image.open(out.path) as image:
        assert image.info["dpi"] == (600, 300)


def test_limits_of_samples_are_the_sources_and_left_out(tmp_path):
    path = made_tiffs.write(tmp_path / "a.tif", RGB, tags={280: (3, [1] * 3), 281: (3, [9] * 3)})
    out = scenes.run(path, tmp_path)
    with gdal(), rasterio.open(out.path) as target:
        assert not [name for name in target.tags() if "SAMPLEVALUE" in name]


def test_a_colour_that_means_transparent_becomes_a_mask(tmp_path):
    pixels = RGB.copy()
    pixels[4:9, 5:11] = (1, 2, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", transparency=(1, 2, 3))
    out = scenes.run(tmp_path / "a.png", tmp_path)
    with gdal(), rasterio.open(out.path) as target:
        hidden = (pixels == (1, 2, 3)).all(-1)
        np.testing.assert_array_equal(target.dataset_mask() == 0, hidden.repeat(4, 0).repeat(4, 1))
        assert "NODATA_VALUES" not in target.tags()


@pytest.mark.parametrize(("kind", "world"), [("png", "pgw"), ("jpg", "jgw"), ("tif", "tfw"), ("png", "wld")])
def test_world_files_and_their_reference_system_are_kept(tmp_path, kind, world):
    Image.fromarray(RGB).save(tmp_path / f"a.{kind}")
    (tmp_path / f"a.{world}").write_text("0.2\n0\n0\n-0.2\n500000.1\n5599999.9\n")
    (tmp_path / f"a.{kind}.aux.xml").write_text("<PAMDataset><SRS>EPSG:25832</SRS></PAMDataset>")
    out = scenes.run(tmp_path / f"a.{kind}", tmp_path, scale=2)
    with gdal(), rasterio.open(out.path) as target:
        assert target.crs == rasterio.CRS.from_epsg(25832)
        np.testing.assert_allclose(target.transform[:6], (0.1, 0, 500000, 0, -0.1, 5600000))
    assert "georef: none" not in out.notes


def test_hidden_colours_do_not_show_at_the_edge_of_what_is_seen(tmp_path):
    y, x = np.mgrid[:60, :60]
    alpha = (((y - 30) ** 2 + (x - 27) ** 2 < 18**2) * 255).astype(np.uint8)
    composites = []
    for hidden in ((230, 190, 60), (0, 0, 0), (0, 255, 0)):
        pixels = np.where(alpha[..., None] > 0, np.uint8([230, 190, 60]), np.uint8(hidden))
        values = planes(np.dstack([pixels, alpha]))
        path = scenes.write(tmp_path / "a.tif", values, colours=["red", "green", "blue", "alpha"], alpha="yes")
        outputs = [
            scenes.run(path, tmp_path, SceneSettings(memory_mb=memory, blocksize=128), name=f"out{memory}.tif")
            for memory in (6, 100)
        ]
        assert outputs[0].sha256 == outputs[1].sha256, "tiles show"
        *colours, share = scenes.read(outputs[0].path).astype(float)
        composites.append(np.array(colours) * share / 255)
    assert np.abs(composites[0] - composites[1]).max() < 3
    assert np.abs(composites[0] - composites[2]).max() < 3
