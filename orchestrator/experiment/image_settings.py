"""Settings of an experiment's images: their places, their scenes and how they are split."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from trainables.errors import suggestion
from trainables.images.raster import DATA_TYPES

Fraction = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=1e-12, le=10)]
"""A learning rate."""

Weight = Annotated[float, Field(le=1e9)]
"""λ, whose ranges are above 0."""


class Section(BaseModel):
    """A part of an experiment file: no unknown keys, no infinite numbers, not to be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _check_plain(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses truth values in place of numbers, and text that no file system or terminal takes."""
        field = cls.model_fields.get(info.field_name or "")
        if field is None or field.annotation is bool:
            return value
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, bool):
                raise ValueError(f"must not be {str(part).lower()}")
            if isinstance(part, str) and any(ord(c) < 32 or "\ud800" <= c <= "\udfff" for c in part):
                raise ValueError(f"must not hold control characters or bytes that are not UTF-8, found {part!r:.80}")
        return value


class SceneTable(Section):
    """A CSV file that names each image's scene."""

    table: str = Field(description="CSV file with a header, relative to `root`")
    file_column: str = Field("file", description="column with the image's path, or with its name if that is unique")
    scene_column: str = Field("scene", description="column with the scene's name")
    pattern: str | None = Field(None, description="regular expression on the scene column; group 1 is the scene")


class ScenePattern(Section):
    """A regular expression that finds the scene in an image's path."""

    pattern: str = Field(description="regular expression on the image's path; group 1 is the scene")


SCENES: dict[str, object] = {"a word": Literal["file", "folder"], "a table": SceneTable, "a pattern": ScenePattern}


def _kind_of_scenes(value: Any) -> str:
    """Kind of scenes that is meant, so that an error names that one alone."""
    if isinstance(value, SceneTable | ScenePattern):
        return "a table" if isinstance(value, SceneTable) else "a pattern"
    if not isinstance(value, dict):
        return "a word"
    of_a_table = [key for key in value if suggestion(str(key), ("table", "file_column", "scene_column"))]
    return "a table" if of_a_table else "a pattern"


Scenes = Annotated[
    Annotated[Literal["file", "folder"], Tag("a word")]
    | Annotated[SceneTable, Tag("a table")]
    | Annotated[ScenePattern, Tag("a pattern")],
    Discriminator(_kind_of_scenes),
]


class PairFolders(Section):
    """Places of HR images and of the LR images that a sensor recorded of the same scenes."""

    hr: str = Field(description="folder or s3:// prefix of the HR images, relative to `root`")
    lr: str = Field(
        description="the same of the LR images; names are equal but for endings such as _HR and _LR4; it may be one "
        "folder with `hr`"
    )
    table: str | None = Field(
        None, description="CSV file with the columns `hr` and `lr`, relative to `root`, in place of equal names"
    )


class ImagePairs(PairFolders):
    """Pairs to train on, their checks and corrections."""

    registration: bool = Field(
        False, description="shift each HR image by whole pixels onto its LR image, by phase correlation"
    )
    radiometry: bool = Field(
        False, description="match each LR image to its HR image, band by band, by a robust regression"
    )
    check: Literal["refuse", "report"] = Field(
        "refuse", description="refuse pairs whose scale, registration, overlap or radiometry is wrong, or only say it"
    )
    share: float = Field(
        1.0, ge=0, le=1, description="share of training patches with their real LR; the others' LR is degraded HR"
    )


IMAGES: dict[str, object] = {"a folder": str, "pairs": ImagePairs, "test pairs": PairFolders}


def _kind_of_images(value: Any) -> str:
    """Kind of images that is meant, so that an error names that one alone."""
    return "pairs" if isinstance(value, dict | ImagePairs) else "a folder"


def _kind_of_test_images(value: Any) -> str:
    return "test pairs" if isinstance(value, dict | PairFolders) else "a folder"


Images = Annotated[
    Annotated[str, Tag("a folder")] | Annotated[ImagePairs, Tag("pairs")],
    Discriminator(_kind_of_images),
]


ImagesOfTest = Annotated[
    Annotated[str, Tag("a folder")] | Annotated[PairFolders, Tag("test pairs")],
    Discriminator(_kind_of_test_images),
]


def folder_of(images: str | PairFolders) -> str:
    """The folder or prefix of HR images."""
    return images.hr if isinstance(images, PairFolders) else images


class ImageSet(Section):
    """Places of images, and the scenes that must not be split between train, validation and test."""

    images: Images = Field(
        description="folder or s3:// prefix of HR images, relative to `root`; of a target also pairs, {hr: …, lr: …}"
    )
    scenes: Scenes = Field(
        "file", description="how to find an image's scene: `file`, `folder`, a CSV table or a pattern"
    )
    validation_share: Fraction = Field(0.2, description="share of the scenes for validation")
    licence: str = Field("not stated", description="licence of the images, copied to the model card")


class SourceModel(Section):
    """An existing model, instead of images to pretrain one on."""

    model: str = Field(
        description="model to start from, instead of `source.images`: packaged (base-x4), a folder or s3:// prefix"
    )


SOURCES: dict[str, object] = {"source images": ImageSet, "source model": SourceModel}


def kind_of_source(value: Any) -> str:
    """Kind of source that is meant, so that an error names that one alone."""
    if not isinstance(value, dict):
        return "source model" if isinstance(value, SourceModel) else "source images"
    given = [str(key) for key, setting in value.items() if setting is not None]
    names_a_model = any(suggestion(key, ("model",)) for key in given)
    return "source model" if names_a_model and "images" not in given else "source images"


Source = Annotated[
    Annotated[ImageSet, Tag("source images")] | Annotated[SourceModel, Tag("source model")],
    Discriminator(kind_of_source),
]


LEAST_CHIP, MOST_CHIP = 32, 4096
"""Largest side of a chip in pixels."""

Range = tuple[float, float]


ANY_TYPE = "any"
"""Key of a value range that holds whatever the data type."""

DICOM_VALUES = "dicom"
"""Key of a model card's value range for DICOM files, in their units."""


def _checked_range(value: Any) -> Any:
    """A value range as settings have it, so that an error is one sentence; two numbers hold for any data type."""
    if value is None or value in ("window", "percentile"):
        return value
    ranges = {ANY_TYPE: value} if isinstance(value, list | tuple) else value
    if not isinstance(ranges, dict) or not ranges:
        raise ValueError(
            "must be [low, high], ranges by data type such as {uint16: [0, 10000]}, `window` or `percentile`, "
            f"found {value!r:.80}"
        )
    for dtype, bounds in ranges.items():
        if dtype not in (ANY_TYPE, *DATA_TYPES):
            raise ValueError(f"must be by data type ({', '.join(DATA_TYPES)}), found '{dtype}'")
        pair = isinstance(bounds, list | tuple) and len(bounds) == 2
        if (
            not pair
            or not all(type(end) in (int, float) for end in bounds)
            or not -1e300 < bounds[0] < bounds[1] < 1e300
        ):
            raise ValueError(f"must be two numbers with low < high, found {bounds!r:.80}")
    return ranges


@dataclass(frozen=True, slots=True)
class DeepImages:
    """Settings of the reading of images of any depth and number of bands, on which a target's shards depend.

    Attributes:
        value_range: Values that mean 0 and 1 to the network: two numbers by data type, or how to find them.
        bands: Names of the bands that are used, in this order; None for all.
        chip: Largest side in HR pixels that is kept whole; larger images are cut.
        slice_axis: Axis of a volume along which its slices lie.
    """

    value_range: Literal["window", "percentile"] | dict[str, Range]
    bands: tuple[str, ...] | None
    chip: int
    slice_axis: int

    def to_dict(self) -> dict[str, object]:
        """Plain values, for fingerprints."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PairReading:
    """Settings of the reading of LR-HR pairs, on which a target's shards depend.

    Attributes:
        scale: Scale factor r.
        registration: Whether HR images are shifted onto their LR images.
        radiometry: Whether LR images are matched to their HR images.
        refuse: Whether a set of wrong pairs is refused, not only reported.
    """

    scale: int
    registration: bool = False
    radiometry: bool = False
    refuse: bool = True

    def to_dict(self) -> dict[str, object]:
        """Plain values that shards depend on, for fingerprints."""
        return {"scale": self.scale, "registration": self.registration, "radiometry": self.radiometry}


class Target(ImageSet):
    """One target domain."""

    value_range: Annotated[
        Literal["window", "percentile"] | dict[str, Range] | None, BeforeValidator(_checked_range)
    ] = Field(
        None,
        description="for images of any depth and bands: the values that mean 0 and 1, as [low, high] or by data "
        "type, {uint16: [0, 10000]}; `window` takes those that DICOM files state, `percentile` measures them on "
        "the training split; without it images are 8-bit gray or RGB",
    )
    bands: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] | None = Field(
        None, description="names of the bands to use, in this order; by default all; needs `value_range`"
    )
    chip: Annotated[int, Field(ge=LEAST_CHIP, le=MOST_CHIP)] = Field(
        256, description="side in pixels of the chips into which larger images are cut; with `value_range` only"
    )
    slice_axis: Annotated[int, Field(ge=0, le=2)] = Field(
        2, description="axis of a volume (NIfTI) along which its slices lie; with `value_range` only"
    )

    space: str | None = Field(None, description="id of the search space; by default the target's name")
    test_images: ImagesOfTest | None = Field(
        None, description="folder or s3:// prefix of a test split that exists already; pairs where `images` are pairs"
    )
    test_share: Fraction = Field(0.2, description="share of the scenes for test, if `test_images` is absent")
    learning_rate: tuple[Rate, Rate] | None = Field(None, description="range; by default that of the search space")
    lambda_: tuple[Weight, Weight] | None = Field(
        None, description="λ floor and highest λ; by default those of the search space"
    )
    frozen_depth: tuple[int, int] | None = Field(None, description="range in blocks; by default 0 to the deepest")

    @model_validator(mode="after")
    def _check_deep(self) -> "Target":
        if self.value_range is None and self.bands is not None:
            raise ValueError("states `bands` without `value_range`: add the values that mean 0 and 1")
        if self.bands is not None and (not self.bands or len(set(self.bands)) < len(self.bands)):
            raise ValueError(f"`bands` must name different bands, found {list(self.bands)}")
        return self

    @model_validator(mode="after")
    def _check_pairs(self) -> "Target":
        paired = [isinstance(images, PairFolders) for images in (self.images, self.test_images or self.images)]
        if paired[0] is not paired[1]:
            raise ValueError("must give pairs in both `images` and `test_images`, or in neither")
        return self

    @property
    def pairs_share(self) -> float:
        """Share of training patches with their real LR; 1 without pairs."""
        return self.images.share if isinstance(self.images, ImagePairs) else 1.0

    @property
    def deep(self) -> DeepImages | None:
        """Settings for images of any depth; None where all are 8-bit gray or RGB."""
        if self.value_range is None:
            return None
        return DeepImages(value_range=self.value_range, bands=self.bands, chip=self.chip, slice_axis=self.slice_axis)

    @field_validator("learning_rate", "lambda_")
    @classmethod
    def _check_range(cls, bounds: tuple[float, float] | None, info: ValidationInfo) -> tuple[float, float] | None:
        if bounds is not None and not 0 < bounds[0] < bounds[1]:
            note = " (λ = 0 is always tried: it lies below the floor)" if info.field_name == "lambda_" else ""
            raise ValueError(f"must be a range with 0 < low < high, found {list(bounds)}{note}")
        return bounds

    @field_validator("frozen_depth")
    @classmethod
    def _check_depths(cls, bounds: tuple[int, int] | None) -> tuple[int, int] | None:
        if bounds is not None and not 0 <= bounds[0] <= bounds[1]:
            raise ValueError(f"must be a range with 0 <= low <= high, found {list(bounds)}")
        return bounds
