"""Values and bands on a model's card, and its network for images of other bands than its own.

No file is read here: workers that train and publish import nothing that reads rasters.
"""

from orchestrator.experiment.image_settings import DICOM_VALUES
from orchestrator.foundation.model_store import FoundModel, check_rgb
from trainables.errors import UsageError
from trainables.images.raster import PixelFormat
from trainables.network.bands import with_bands
from trainables.network.network import SuperResolutionNet

_KEPT = ("value_range", "units")
_KEPT_BANDS = ("band_map", "band_names")


def network_for(found: FoundModel, pixel_format: PixelFormat) -> SuperResolutionNet:
    """A model's network for images of a format: its own, or an RGB network made ready for other bands.

    Raises:
        UsageError: If the network takes another number of bands than the images have, and is none for RGB.
    """
    if pixel_format.plain:
        return check_rgb(found).net
    channels = found.net.architecture.channels
    if found.card.get("band_names") or channels not in (3, pixel_format.channels):
        if channels != pixel_format.channels:
            raise UsageError(
                f"Model '{found.where}' takes {channels} bands, and the images have {pixel_format.channels}: "
                f"{', '.join(pixel_format.bands)}."
            )
        return found.net
    return with_bands(found.net, pixel_format.bands) if channels == 3 else found.net


def values_and_bands(pixel_format: PixelFormat, channels: int) -> dict[str, object]:
    """Entries of a card for upscaling further images of a domain: value range, bands that go together, units.

    Of 8-bit gray and RGB images there is nothing to state. A network of other bands than the domain's, such as the
    source model as it is, takes them one by one.

    Args:
        pixel_format: Of the domain.
        channels: Bands of the network.
    """
    if pixel_format.plain:
        return {}
    bands, span = pixel_format.channels, [pixel_format.low, pixel_format.high]
    types = (DICOM_VALUES, pixel_format.dtype) if pixel_format.dicom else (pixel_format.dtype,)
    in_one_group, numbers = channels == bands, list(range(1, bands + 1))
    return {
        "value_range": dict.fromkeys(types, span),
        "band_map": {str(bands): [numbers] if in_one_group else [[number] for number in numbers]},
        **({"band_names": list(pixel_format.bands)} if in_one_group else {}),
        **({"units": pixel_format.units} if pixel_format.units else {}),
    }


def kept_values_and_bands(found: FoundModel, pixel_format: PixelFormat) -> dict[str, object]:
    """The same for a model made of another one, whose card's own entries stay where it has them."""
    if pixel_format.plain:
        return {}
    own_bands = found.net.architecture.channels == pixel_format.channels
    stated = {name: value for name, value in found.card.items() if value}
    kept = {name: stated[name] for name in _KEPT + (_KEPT_BANDS if own_bands else ()) if name in stated}
    return values_and_bands(pixel_format, network_for(found, pixel_format).architecture.channels) | kept
