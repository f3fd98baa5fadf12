"""Encoded image bytes to pixels, with one stated rule for each kind of file."""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from trainables.errors import UnreadableImageError as UnreadableImageError
from trainables.images import formats as image_formats
from trainables.images import png_chunks
from trainables.images.exif import orientation
from trainables.images.hidden_colour import filled

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
_TO_GRAY = {"1", "L", "LA"}
_TO_RGB = {"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"}
_KEEPS_PROFILE = {"L", "LA", "RGB", "RGBA", "P"}
_DEEP = re.compile(r";16[BLN]")
"""In the raw mode of 16-bit colour, which Pillow opens as 8-bit by dropping the low bytes."""

_BITS, _PHOTOMETRIC, _BANDS, _EXTRA_BANDS, _SAMPLE_FORMAT = 258, 262, 277, 338, 339
_CMYK, _ALPHA, _UNSIGNED = 5, {1, 2}, {1, 4}
GEOREFERENCE = (33550, 33922, 34264, 34735, 50844)
"""TIFF tags that place pixels on earth: scale, tie points, transformation, key directory, rational polynomials."""

warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata and sizes, which are judged here


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels of one image.

    Attributes:
        pixels: uint8 array of shape (H, W, C), C being 1 for gray and 3 for colour images.
        format: Name of the encoding, such as ``PNG``.
        alpha: uint8 array of shape (H, W); None if the image is opaque, or alpha was not requested.
        profile: The ICC colour profile that the pixels are in, as its bytes.
        frames: Number of images in the file; the pixels are the first one's.
        georeferenced: True if the file states the location of its pixels on earth.
    """

    pixels: NDArray[np.uint8]
    format: str
    alpha: NDArray[np.uint8] | None = None
    profile: bytes | None = None
    frames: int = 1
    georeferenced: bool = False

    @property
    def height(self) -> int:
        """Rows in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns in pixels."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """1 for gray, 3 for colour."""
        return int(self.pixels.shape[2])


def decode(data: bytes, least_side: int = 1, keep_alpha: bool = False, checked: bool = False) -> DecodedImage:
    """Decodes one 8-bit image completely, turned as its EXIF orientation says.

    Gray stays gray, alpha is dropped or handed over apart, palette and CMYK images become RGB. Fully transparent pixels
    get the colour of the nearest one that is not (:mod:`trainables.images.hidden_colour`). Deeper images and those with
    further bands are refused rather than squeezed into 8 bits or cut to three bands, because the right window and the
    right bands are the owner's choice.

    Args:
        data: The bytes of a file.
        least_side: Least height and width in pixels.
        keep_alpha: True to return transparency.
        checked: True if the same bytes were decoded before and are known to hold the whole picture.

    Raises:
        UnreadableImageError: If the bytes are no image, are cut short, hold more than 8 bits a channel, other bands
            than gray or colour, fewer pixels than needed or more than fit; and whatever else is wrong with them.
    """
    try:
        tags = image_formats.tiff_tags(data)
        _check_bands(tags)
        with image_formats.open_image(data) as image:
            _check_mode(image)
            if not checked:
                image_formats.check_complete(data, image)
            decoded = _decoded(image, any(tag in tags for tag in GEOREFERENCE))
    except UnreadableImageError:
        raise
    except MemoryError:
        raise UnreadableImageError("too little memory is free to decode it; cut it into pieces") from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(
            "too large for a plain image of its format; save it as PNG, or as a GeoTIFF, which is upscaled in bounded "
            "memory"
        ) from None
    except Exception as error:  # a decoder raises anything at all on damaged bytes
        raise UnreadableImageError(_reason(error)) from None
    if min(decoded.height, decoded.width) < least_side:
        size = f"{decoded.width}×{decoded.height}"
        raise UnreadableImageError(f"{size} pixels, smaller than the {least_side}×{least_side} needed")
    if keep_alpha or decoded.alpha is None:
        return decoded
    if not checked and not decoded.alpha.any():
        raise UnreadableImageError("all its pixels are transparent, so that it shows nothing")
    return replace(decoded, alpha=None)


def encode_png(
    pixels: NDArray[np.uint8],
    alpha: NDArray[np.uint8] | None = None,
    profile: bytes | None = None,
    chunks: Sequence[png_chunks.Chunk] = (),
) -> bytes:
    """Encodes a uint8 array of shape (H, W, C), C being 1 or 3, as PNG.

    Args:
        pixels: (H, W, C).
        alpha: Transparency, (H, W).
        profile: ICC profile.
        chunks: Further chunks, which are written as they are.
    """
    bands = pixels if alpha is None else np.dstack([pixels, alpha])
    # Level 4 takes a third of the time of the default, 6, for files 2 % larger.
    data = _encoded(bands, "PNG", compress_level=4, icc_profile=profile)
    return png_chunks.with_chunks(data, chunks) if chunks else data


def encode_jpeg(pixels: NDArray[np.uint8], profile: bytes | None = None, **options: Any) -> bytes:
    """Encodes a uint8 array of shape (H, W, C), C being 1 or 3, as JPEG of quality 95 with full colour resolution.

    Args:
        pixels: (H, W, C).
        profile: ICC profile.
        options: Options of Pillow's encoder, such as ``exif``, ``xmp`` and ``dpi``.
    """
    return _encoded(pixels, "JPEG", quality=95, subsampling=0, icc_profile=profile, **options)


def _encoded(bands: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(bands[..., 0] if bands.shape[-1] == 1 else bands).save(buffer, kind, **options)
    return buffer.getvalue()


def _reason(error: Exception) -> str:
    """Pillow's own words, where they were meant for people."""
    words = next(iter(str(error).strip().splitlines()), "").strip()
    meant = isinstance(error, OSError | SyntaxError) and error.__cause__ is None and 0 < len(words) < 80
    if not meant or "0x" in words:
        words = f"its header or data are damaged ({type(error).__name__})"
    return f"not an image that can be decoded: {words}"


def _check_mode(image: ImageFile.ImageFile) -> None:
    if image.mode not in _TO_GRAY and image.mode not in _TO_RGB:
        raise UnreadableImageError(f"pixel mode {image.mode} is not 8-bit gray or colour")
    if any(_DEEP.search(str(tile)) for tile in image.tile):
        raise UnreadableImageError("16 bits a channel are not 8-bit gray or colour")


def _decoded(image: ImageFile.ImageFile, georeferenced: bool) -> DecodedImage:
    mode, kind, profile = image.mode, image.format or "unknown", image.info.get("icc_profile")
    # A phone's MPO holds previews of the one picture.
    frames = 1 if kind == "MPO" else getattr(image, "n_frames", 1)
    # Pillow turns a TIFF by itself as it loads it.
    turned = 1 if kind == "TIFF" else orientation(exif_of(image), xmp_of(image))
    image.load()
    wanted = "L" if mode in _TO_GRAY else "RGB"
    pixels = np.array(image if mode == wanted else image.convert(wanted))
    pixels, alpha = pixels.reshape(*pixels.shape[:2], -1), None
    if image.has_transparency_data:
        alpha = np.array(image.convert("RGBA").getchannel("A"))
        pixels = filled(pixels, alpha)
    return DecodedImage(
        pixels=upright(pixels, turned),
        format=kind,
        alpha=None if alpha is None else upright(alpha, turned),
        profile=profile if mode in _KEEPS_PROFILE else None,
        frames=frames,
        georeferenced=georeferenced,
    )


def exif_of(image: ImageFile.ImageFile) -> bytes | None:
    """Returns the EXIF block of an image that was opened, without reading what it says."""
    block = image.info.get("exif")
    if block is None and (text := image.info.get("Raw profile type exif")):  # as ImageMagick writes it into a PNG
        try:
            block = bytes.fromhex("".join(str(text).split("\n")[3:]))
        except ValueError:
            return None
    return block if isinstance(block, bytes) else None


def xmp_of(image: ImageFile.ImageFile) -> bytes | None:
    """Returns the XMP packet of an image that was opened."""
    packet = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
    return packet.encode() if isinstance(packet, str) else packet if isinstance(packet, bytes) else None


def upright(pixels: NDArray[np.uint8], turned: int) -> NDArray[np.uint8]:
    """Turns an array (H, W, ...) as EXIF's orientation 1 to 8 says, so that its first row is the picture's top."""
    if turned >= 5:
        pixels = pixels.swapaxes(0, 1)
    if turned in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turned in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _check_bands(tags: dict[int, Any]) -> None:
    """Refuses a TIFF whose further bands Pillow would drop or choke on, or whose values it would take for others."""
    bands, extra = tags.get(_BANDS, 1), tags.get(_EXTRA_BANDS, ())
    alphas = sum(kind in _ALPHA for kind in (extra if isinstance(extra, tuple) else (extra,)))
    if bands - alphas not in (1, 3, 4) or (bands > 3 and not alphas and tags.get(_PHOTOMETRIC) != _CMYK):
        raise UnreadableImageError(f"{bands} bands are not gray or colour, with or without alpha")
    if _first(tags.get(_BITS)) == 8 and _first(tags.get(_SAMPLE_FORMAT, 1)) not in _UNSIGNED:
        raise UnreadableImageError("its values are signed, not gray or colour from 0 to 255")


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value
