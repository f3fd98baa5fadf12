"""Manifest of a set of shards, as its file has it."""

from typing import NotRequired, TypedDict


class LeftOut(TypedDict):
    """A file that is not in the shards, and why."""

    file: str
    reason: str


class PackedPart(TypedDict):
    """A Parquet file of a split; shards of version 0.2.0 have no digest of its index."""

    path: str
    split: str
    rows: int
    bytes: int
    sha256: str
    index_sha256: NotRequired[str]


class ManifestHead(TypedDict):
    """Fields that are known before anything is packed.

    A locked test split is marked as such, with the digest of the shards that it was set aside from; other shards have
    notes for a reader. Shards of other than 8-bit gray and RGB images state what their values mean, as
    :class:`~trainables.images.raster.PixelFormat` does; shards of pairs state their scale factor and corrections.
    """

    format: int
    split_rule: str
    licence: str
    locked: NotRequired[bool]
    beside: NotRequired[str]
    skipped: list[LeftOut]
    notes: NotRequired[list[str]]
    pixel_format: NotRequired[dict[str, object]]
    pairs: NotRequired[dict[str, object]]


class Manifest(ManifestHead):
    """The manifest of a set of shards: counts by split, each split's scenes and files, and the digest of all images."""

    images: dict[str, int]
    scenes: dict[str, list[str]]
    pixels: dict[str, int]
    files: list[PackedPart]
    digest: str
