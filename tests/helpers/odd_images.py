"""One file of each kind that turns up in real folders, and what becomes of it."""

import io
import struct
from pathlib import Path

import noise_images
import numpy as np
from PIL import Image

SIDE = 96
GOOD = ("black.png", "cmyk.jpg", "gray-alpha.png", "gray.png", "palette.png", "rgb.png", "rgba.png", "turned.jpg")
REFUSED = {
    "cut.png": "cut short",
    "deep.png": "pixel mode I;16 is not 8-bit",
    "five-bands.tif": "5 bands are not gray or colour",
    "nan.tif": "pixel mode F is not 8-bit",
    "near-infrared.tif": "4 bands are not gray or colour",
    "text.png": "not an image that can be decoded",
}


def write_all(folder: Path, side: int = SIDE) -> Path:
    """Writes every kind, and a file that is no image by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 4), dtype=np.uint8)
    colour = Image.fromarray(noise[..., :3])
    colour.save(folder / "rgb.png")
    Image.fromarray(np.zeros_like(noise[..., :3])).save(folder / "black.png")
    Image.fromarray(noise[..., 0]).save(folder / "gray.png")
    Image.fromarray(noise).save(folder / "rgba.png")
    Image.fromarray(np.ascontiguousarray(noise[..., :2])).save(folder / "gray-alpha.png")
    colour.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.crop((0, 0, side, side - 4)).save(folder / "turned.jpg", exif=turned)
    (folder / "cut.png").write_bytes((folder / "rgb.png").read_bytes()[: side * side])
    (folder / "deep.png").write_bytes(noise_images.sixteen_bit_png(side))
    values = np.ones((side, side), np.float32)
    values[0, 0] = np.nan
    Image.fromarray(values).save(folder / "nan.tif")
    (folder / "five-bands.tif").write_bytes(tiff(np.dstack([noise, noise[..., 0]])))
    (folder / "near-infrared.tif").write_bytes(tiff(noise))
    (folder / "text.png").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("not even called one")
    return folder


def tiff(bands: np.ndarray) -> bytes:
    """A TIFF of any number of 8-bit bands, all but the first three of them unnamed."""
    height, width, count = bands.shape
    data = bands.tobytes()
    shorts = {258: [8] * count, 338: [0] * (count - 3)}
    longs = {256: width, 257: height, 259: 1, 262: 2, 273: 0, 277: count, 278: height, 279: len(data)}
    after = 8 + 2 + 12 * (len(shorts) + len(longs)) + 4
    entries, lists = b"", b""
    for tag in sorted(shorts | longs):
        values = struct.pack(f"<{len(shorts[tag])}H", *shorts[tag]) if tag in shorts else b""
        if tag in shorts and len(values) > 4:
            entries += struct.pack("<HHII", tag, 3, len(shorts[tag]), after + len(lists))
            lists += values
        elif tag in shorts:
            entries += struct.pack("<HHI", tag, 3, len(shorts[tag])) + values.ljust(4, b"\0")
        else:
            # The pixels follow the lists, whose length is known: count 16-bit numbers for the bands and the unnamed.
            behind = after + sum(2 * len(v) for v in shorts.values() if 2 * len(v) > 4)
            entries += struct.pack("<HHII", tag, 4, 1, behind if tag == 273 else longs[tag])
    return b"II*\0" + struct.pack("<IH", 8, len(shorts) + len(longs)) + entries + bytes(4) + lists + data


def georeferenced(pixels: np.ndarray) -> bytes:
    """A TIFF that says where on earth it is."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2()
    tags[33550], tags.tagtype[33550] = (10.0, 10.0, 0.0), 12
    tags[33922], tags.tagtype[33922] = (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), 12
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", tiffinfo=tags)
    return buffer.getvalue()
