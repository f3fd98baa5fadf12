"""Value range and bands by which a model is given images of any depth: its card states them, or a person does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.experiment.image_settings import ANY_TYPE, DICOM_VALUES, LEAST_CHIP, MOST_CHIP, DeepImages
from orchestrator.foundation.model_store import FoundModel
from orchestrator.image_sets.deep_images import FileShape
from orchestrator.image_sets.value_ranges import Sampled, format_of
from trainables.errors import ImageSetError, UsageError
from trainables.images.raster import PixelFormat

ValueRange = Literal["window", "percentile"] | tuple[float, float]
"""Values that mean 0 and 1 to a network, or how to find them."""

CHIP, SLICE_AXIS = 256, 2
"""Side in pixels of chips, and the axis of volumes that slices are cut across, unless a person states others."""


@dataclass(frozen=True, slots=True)
class DeepReading:
    """Reading of images of any depth for a model.

    Attributes:
        deep: Value range, bands and size of chips.
        units: Unit of the range, "" if none is known.
        card: Model whose card states the range; None where a person does.
    """

    deep: DeepImages
    units: str = ""
    card: str | None = None

    @property
    def takes_8_bits(self) -> bool:
        """True if 8-bit images are read by this range too, and not as 0 to 255."""
        return self.card is None or not {"uint8", ANY_TYPE}.isdisjoint(self.deep.value_range)

    def format_of(self, shape: FileShape, samples: Sequence[Sampled], where: str) -> tuple[PixelFormat, list[str]]:
        """The meaning of a set's values.

        Args:
            shape: Data type, bands and units of its images.
            samples: Samples of them, on which a range is measured or checked.
            where: Its folder, for errors.

        Returns:
            The pixel format, and lines that a user should know.

        Raises:
            ImageSetError: If there is no range for this data type or unit, or the values do not fit it.
        """
        ranges = self.deep.value_range
        keys = {shape.dtype, ANY_TYPE} | ({DICOM_VALUES} if shape.dicom else set())
        if self.card is not None and keys.isdisjoint(ranges):
            raise ImageSetError(
                f"The card of model '{self.card}' states a value_range of {', '.join(ranges)} alone, and the images "
                f"of '{where}' are {shape.dtype}: take a model whose card states one for {shape.dtype}."
            )
        if self.units and shape.units and self.units.lower() != shape.units.lower():
            raise ImageSetError(
                f"The values of '{where}' are in {shape.units}, and the range of model '{self.card}' is in "
                f"{self.units}: take a model for {shape.units}."
            )
        pixel_format, notes = format_of(self.deep, shape, samples, where)
        if self.units and not shape.units:
            notes = [*notes, f"'{where}' states no unit: its values were taken to be in {self.units}, as the range is"]
        return replace(pixel_format, units=shape.units or self.units), notes


def deep_reading(
    found: FoundModel,
    value_range: ValueRange | None = None,
    bands: Sequence[str] = (),
    chip: int = CHIP,
    slice_axis: int = SLICE_AXIS,
) -> DeepReading | None:
    """The reading of images of any depth for a model; None where neither its card nor a person states a range.

    Args:
        found: The model.
        value_range: As a person states it.
        bands: Names of the bands to use, likewise; none for all.
        chip: Side in pixels of the chips into which larger images are cut.
        slice_axis: The axis of volumes that slices are cut across.

    Raises:
        UsageError: If the card states a range as well, bands have no range, or any of them makes no sense.
    """
    if not LEAST_CHIP <= chip <= MOST_CHIP:
        raise UsageError(f"--chip must lie between {LEAST_CHIP} and {MOST_CHIP} pixels, found {chip}.")
    if slice_axis not in (0, 1, 2):
        raise UsageError(f"--slice-axis must be 0, 1 or 2, found {slice_axis}.")
    ranges = found.card.get("value_range") or {}
    if value_range is not None and ranges:
        raise UsageError(f"The card of model '{found.where}' states a value_range already: leave out --value-range.")
    names = tuple(found.card.get("band_names") or ())
    if bands and names and tuple(bands) != names:
        raise UsageError(f"The card of model '{found.where}' states its bands, {', '.join(names)}: leave out --bands.")
    if "" in bands or len(set(bands)) < len(bands):
        raise UsageError(f"--bands must name different bands, such as red,green,blue,nir, found '{','.join(bands)}'.")
    chosen = tuple(bands) or names or None
    if ranges:
        stated = {str(dtype): (float(low), float(high)) for dtype, (low, high) in ranges.items()}
        return DeepReading(
            DeepImages(stated, chosen, chip, slice_axis), str(found.card.get("units") or ""), found.where
        )
    if value_range is None:
        if bands:
            raise UsageError("--bands needs --value-range, the values that mean 0 and 1 to the network.")
        return None
    if isinstance(value_range, str):
        return DeepReading(DeepImages(_found_in_files(value_range), chosen, chip, slice_axis))
    low, high = value_range
    if not -1e300 < low < high < 1e300:
        raise UsageError(f"--value-range needs two numbers with low < high, found {low:g},{high:g}.")
    return DeepReading(DeepImages({ANY_TYPE: (float(low), float(high))}, chosen, chip, slice_axis))


def read_value_range(text: str | None) -> ValueRange | None:
    """Parses a value range option: ``LOW,HIGH``, ``percentile`` or ``window``; None where it is not given.

    Raises:
        UsageError: If it is written otherwise.
    """
    if text is None or "," not in text:
        return None if text is None else _found_in_files(text)
    try:
        low, high = (float(number) for number in text.split(","))
    except ValueError:
        raise _unknown(text) from None
    return low, high


def read_bands(text: str | None) -> tuple[str, ...]:
    """Parses names of bands such as ``red,green,blue,nir``; none where the option is not given."""
    return () if text is None else tuple(name.strip() for name in text.split(","))


def _found_in_files(word: str) -> Literal["window", "percentile"]:
    if word not in ("window", "percentile"):
        raise _unknown(word)
    return "percentile" if word == "percentile" else "window"


def _unknown(text: str) -> UsageError:
    return UsageError(f"--value-range is LOW,HIGH (such as 0,10000), percentile or window, found '{text}'.")
