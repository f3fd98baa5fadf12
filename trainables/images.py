"""Encoded image bytes to pixels, with one stated rule for each kind of file."""

import io
import re
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trainables.errors import RayScaleError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
_TO_GRAY = {"1", "L", "LA"}
_TO_RGB = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"}
_DEEP = re.compile(r";16[BLN]")
"""In the raw mode of 16-bit colour, which Pillow opens as 8-bit by dropping the low bytes."""


class UnreadableImageError(RayScaleError):
    """One file cannot be used as an image; the message says why, in a few words."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels of one image.

    Attributes:
        pixels: uint8 array of shape (H, W, C), C being 1 for gray and 3 for colour images.
        format: Name of the encoding, such as ``PNG``.
    """

    pixels: NDArray[np.uint8]
    format: str

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


def decode(data: bytes) -> DecodedImage:
    """Decodes one 8-bit image completely.

    Gray stays gray, alpha is dropped, palette and CMYK images become RGB. Deeper images are refused rather than
    squeezed into 8 bits, because the right window is the owner's choice.

    Args:
        data: The bytes of a file.

    Raises:
        UnreadableImageError: If the bytes are no image, are cut short, or hold more than 8 bits a channel.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                mode, kind = image.mode, image.format or "unknown"
                if mode not in _TO_GRAY and mode not in _TO_RGB:
                    raise UnreadableImageError(f"pixel mode {mode} is not 8-bit gray or colour")
                if any(_DEEP.search(str(tile)) for tile in image.tile):
                    raise UnreadableImageError("16 bits a channel are not 8-bit gray or colour")
                pixels = np.asarray(image.convert("L" if mode in _TO_GRAY else "RGB"))
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image that can be decoded") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise UnreadableImageError(str(error).split("\n")[0] or type(error).__name__) from None
    return DecodedImage(pixels.reshape(*pixels.shape[:2], -1), kind)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encodes a uint8 array of shape (H, W, C), C being 1 or 3, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
