"""Metadata of an image file beside its pixels: carried over to the upscaled picture, or noted as lost.

docs/images.md has the table. PNG: W3C 2025, section 11.3; JPEG: JFIF 1.02 and Exif 3.0; BMP: Microsoft's
BITMAPV5HEADER.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ImageFile

from trainables.images.codec import exif_of, xmp_of
from trainables.images.exif import orientation, upright_xmp, upscaled_exif
from trainables.images.formats import open_image, tiff_tags
from trainables.images.png_chunks import Chunk, read_chunks

_COLOUR = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"mDCv", b"cLLI", b"cLLi"})
_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_XMP_KEYWORD, _RAW_EXIF = b"XML:com.adobe.xmp\0", b"Raw profile type "
_GAIN_MAPS = (b"hdrgm:", b"urn:iso:std:iso:ts:21496")
_TAGS_LEFT_OUT = {34665: "EXIF", 34853: "GPS", 270: "description", 315: "artist", 33432: "copyright", 33723: "IPTC"}
_COLOUR_TAGS = {301: "transfer function", 318: "white point", 319: "primaries"}
_MOST_IN_SEGMENT = 65_000
_METRE, _MOST_DENSITY = 0.0254, 1e6


@dataclass(frozen=True, slots=True)
class Metadata:
    """Metadata of an image file beside its pixels.

    Attributes:
        exif: EXIF block, as it lies in the file.
        xmp: XMP packet, which says that the picture is upright.
        density: Dots per metre across and down the upright picture.
        aspect: Height and width of a pixel as whole numbers' ratio, where a file states that alone: (x, y) densities.
        profile: An ICC profile that Pillow does not see.
        chunks: A PNG's chunks of colour and text.
        notes: Properties that were left out or converted, a few words each.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    density: tuple[float, float] | None = None
    aspect: tuple[int, int] | None = None
    profile: bytes | None = None
    chunks: tuple[Chunk, ...] = ()
    notes: tuple[str, ...] = ()

    def png_chunks(self, scale: int, width: int, height: int) -> list[Chunk]:
        """Returns what an upscaled PNG of that size says beside its pixels and its profile."""
        chunks = list(self.chunks)
        if self.density or self.aspect:
            x, y = (scale * resolution for resolution in self.density) if self.density else self.aspect or (1, 1)
            if max(x, y) < 1 << 31:
                chunks.append(Chunk(b"pHYs", struct.pack(">IIB", round(x), round(y), int(self.density is not None))))
        if block := self._exif(scale, width, height):
            chunks.append(Chunk(b"eXIf", block))
        if self.xmp:
            chunks.append(Chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0" + self.xmp))
        return chunks

    def jpeg_options(self, scale: int, width: int, height: int) -> dict[str, object]:
        """Returns the same as options of Pillow's JPEG encoder."""
        options: dict[str, object] = {}
        block = self._exif(scale, width, height)
        if block and len(block) < _MOST_IN_SEGMENT:
            options["exif"] = b"Exif\0\0" + block
        if self.xmp and len(self.xmp) < _MOST_IN_SEGMENT:
            options["xmp"] = self.xmp
        if self.density and max(self.density) * scale * _METRE < 1 << 16:
            options["dpi"] = tuple(round(resolution * scale * _METRE) for resolution in self.density)
        return options

    def lost_in_jpeg(self) -> list[str]:
        """Returns what a JPEG has no place for, a few words each."""
        lost = []
        if {chunk.kind for chunk in self.chunks} & (_COLOUR - {b"sRGB"}):
            lost.append("its gamma and primaries were dropped, since JPEG has none; write .png to keep them")
        if any(chunk.kind in _TEXT for chunk in self.chunks):
            lost.append("its text was dropped; write .png to keep it")
        if max(len(self.exif or b""), len(self.xmp or b"")) >= _MOST_IN_SEGMENT:
            lost.append("its EXIF or XMP data were dropped, too long for JPEG; write .png to keep them")
        return lost

    def _exif(self, scale: int, width: int, height: int) -> bytes | None:
        return upscaled_exif(self.exif, scale, width, height) if self.exif else None


def read_metadata(data: bytes) -> Metadata:
    """Reads what an image file says beside its pixels; what cannot be read is a note and stops nothing."""
    try:
        with open_image(data) as image:
            return _read(data, image)
    except Exception:  # whatever a damaged block makes a library raise: the pixels are good
        return Metadata(notes=("what it says beside its pixels could not be read and was left out",))


def _read(data: bytes, image: ImageFile.ImageFile) -> Metadata:
    exif, xmp, notes = exif_of(image), xmp_of(image), list(_notes(data, image))
    if exif and upscaled_exif(exif, 1, 1, 1) is None:
        notes.append("its EXIF data could not be read and were left out")
    turned = 1 if image.format == "TIFF" else orientation(exif, xmp)
    if xmp and any(word in xmp for word in _GAIN_MAPS):
        xmp = None  # it describes the gain map
    chunks = read_chunks(data) if image.format == "PNG" else []
    density, aspect = _density(chunks, image)
    return Metadata(
        exif=exif,
        xmp=upright_xmp(xmp) if xmp else None,
        density=density[::-1] if density and turned >= 5 else density,
        aspect=aspect[::-1] if aspect and turned >= 5 else aspect,
        profile=_bmp_profile(data) if image.format == "BMP" else None,
        chunks=tuple(_carried(chunks)),
        notes=tuple(notes),
    )


def _carried(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    for chunk in chunks:
        if chunk.kind in _COLOUR or (
            chunk.kind in _TEXT and not chunk.data.startswith((_XMP_KEYWORD, _RAW_EXIF))  # which are carried as such
        ):
            yield chunk


def _density(
    chunks: Iterable[Chunk], image: ImageFile.ImageFile
) -> tuple[tuple[float, float] | None, tuple[int, int] | None]:
    """Dots per metre, or else the two numbers whose ratio is all that the file states."""
    dots, aspect = image.info.get("dpi"), image.info.get("aspect")
    if image.format == "PNG":
        pixels = next((chunk.data for chunk in chunks if chunk.kind == b"pHYs"), b"")
        if len(pixels) == 9 and pixels[8] == 1:
            x, y = struct.unpack_from(">II", pixels)
            return (float(x), float(y)), None
    elif image.info.get("jfif_unit") == 0:
        aspect = image.info.get("jfif_density")
    if dots and all(1 < float(value) < _MOST_DENSITY for value in dots):  # 1 means unknown
        return (float(dots[0]) / _METRE, float(dots[1]) / _METRE), None
    return None, (int(aspect[0]), int(aspect[1])) if aspect and aspect[0] != aspect[1] else None


def _notes(data: bytes, image: ImageFile.ImageFile) -> Iterator[str]:
    if image.mode == "CMYK":
        yield "its CMYK colours became RGB by the plain formula, without a colour profile"
    elif image.mode == "YCbCr" and image.info.get("icc_profile"):
        yield "its colours became RGB, and its colour profile was left out"
    if image.format == "MPO":
        yield "its further pictures (previews, a gain map or a second view) were left out"
    elif image.format == "JPEG":
        segments = [content for _, content in getattr(image, "applist", ())]
        if any(word in content for content in segments for word in _GAIN_MAPS):
            yield "its HDR gain map was left out: the result is its standard rendition"
        if 0x0404 in image.info.get("photoshop", {}):
            yield "its IPTC data were left out"
        if any(content.startswith(b"http://ns.adobe.com/xmp/extension/") for content in segments):
            yield "the extended part of its XMP data was left out"
    elif image.format == "TIFF":
        tags = tiff_tags(data)
        for names, kind in ((_TAGS_LEFT_OUT, "tags"), (_COLOUR_TAGS, "colour tags")):
            if found := [name for tag, name in names.items() if tag in tags]:
                yield f"its {kind} ({', '.join(found)}) were left out"
    elif image.format == "BMP":
        yield from _bmp_notes(data)


def _bmp_notes(data: bytes) -> Iterator[str]:
    size, bits, compression = *struct.unpack_from("<I", data, 14), *_bmp_depth(data)
    if size >= 108 and data[70:74] == b"KNIL":
        yield "the colour profile that it names by a file was not read"
    elif size >= 108 and data[70:74] == bytes(4) and any(data[74:122]):
        yield "its gamma and primaries were left out"
    if bits == 32 and compression == 0:
        (start,) = struct.unpack_from("<I", data, 10)
        whole = (len(data) - start) // 4 * 4
        if np.frombuffer(data, np.uint8, whole, start)[3::4].any():
            yield "the fourth byte of its pixels, which some programs take for transparency, was left out"


def _bmp_depth(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", data, 14)
    if size < 40:
        return int.from_bytes(data[24:26], "little"), 0
    return int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")


def _bmp_profile(data: bytes) -> bytes | None:
    """The ICC profile within a version 5 header's file, which Pillow passes over."""
    (size,) = struct.unpack_from("<I", data, 14)
    if size < 124 or data[70:74] != b"DEBM":
        return None
    start, length = struct.unpack_from("<II", data, 14 + 112)
    profile = data[14 + start : 14 + start + length]
    return profile if length and len(profile) == length else None
