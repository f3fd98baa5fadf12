"""One file of a set as rows of its shards: read, decoded, of a pair corrected, and described."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.spool import Spool, Spooled
from orchestrator.experiment.image_settings import DeepImages, PairReading
from orchestrator.foundation.file_listing import version_on_disk
from orchestrator.image_sets.deep_images import Chip, FileShape, LrFile, read_chips
from orchestrator.image_sets.pair_reading import check_fit, corrected
from orchestrator.image_sets.set_files import (
    PlacedFile,
    Skipped,
    SourceFile,
    plain_raster,
    read_image,
    reason_to_skip,
)
from trainables.errors import UnreadableImageError, printable, reason_of
from trainables.images.codec import DecodedImage, decode, encode_png
from trainables.images.packed_raster import pack
from trainables.images.picture_digest import digest_of, look, picture_digest


class RowFacts(TypedDict):
    """The columns of a shard beside the image; pairs have the digest of their LR image."""

    scene_id: str
    format: str
    height: int
    width: int
    channels: int
    bit_depth: int
    sha256: str
    origin: str
    lr_sha256: NotRequired[str]


class PackedRow(RowFacts):
    """The columns of a shard: an image, encoded as in its file or as a packed raster, and its properties.

    Pairs have the LR image too, in the same way.
    """

    image: bytes
    lr_image: NotRequired[bytes]


class Row(RowFacts):
    """A row to pack: where its image waits, and values that are not packed.

    These are whether it is of a test folder, its picture's digest and hash and, of an image of any depth, some of its
    values and the window that its file states. Of a pair the LR image waits too.
    """

    stored: Spooled
    lr_stored: Spooled | None
    test: bool
    picture: str
    look: int | None
    sample: NDArray[np.float32] | None
    window: tuple[float, float] | None


PACKED = "NPY"
"""Format of rows that hold a packed raster."""

CHANGED = "it changed while it was being read"
"""Reason for leaving out a file, which ends the build."""


@dataclass(slots=True)
class Read:
    """Rows of one file, what of it was left out, and of a file of any depth its shape."""

    rows: list[Row] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    shape: FileShape | None = None


def read_file(
    file: SourceFile, least_side: int, spool: Spool, deep: DeepImages | None, pairs: PairReading | None
) -> Read:
    """Reads a file and, of a pair, its LR image; arguments are those of :func:`orchestrator.data.set_rows.read_rows`.

    Raises:
        OSError: If the storage does not answer.
    """
    path = printable(file.facts.path)
    both = [PlacedFile(file.place, file.facts), *([file.lr] if file.lr else [])]
    try:
        if deep is None:
            read = _read_picture(file, least_side, spool, pairs)
        else:
            read = _read_deep(file, least_side, spool, deep, pairs)
        return Read(skipped=[Skipped(path, CHANGED)]) if any(_changed(f, bool(read.rows)) for f in both) else read
    except UnreadableImageError as error:
        return Read(skipped=[Skipped(path, str(error))])
    except OSError as error:
        if deep is None:  # the storage's, not this file's: read_image has judged those of the file
            raise
        return Read(skipped=[Skipped(path, reason_to_skip(error))])
    except Exception as error:
        return Read(skipped=[Skipped(path, f"it cannot be used: {reason_of(error)}")])


def _read_picture(file: SourceFile, least_side: int, spool: Spool, pairs: PairReading | None) -> Read:
    read = read_image(file.place, file.facts.path, least_side)
    if isinstance(read, Skipped):
        return Read(skipped=[read])
    data, image = read
    if len(data) != file.facts.size:
        return Read(skipped=[Skipped(printable(file.facts.path), CHANGED)])
    lr_data = None
    if pairs is not None and file.lr is not None:
        data, image, lr_data = _with_lr(file.lr, data, image, least_side, pairs)
    row: Row = {
        "scene_id": file.scene,
        "stored": spool.put(data),
        "lr_stored": None,
        "format": image.format,
        "height": image.height,
        "width": image.width,
        "channels": image.channels,
        "bit_depth": 8,
        "sha256": hashlib.sha256(data).hexdigest(),
        "origin": _origin(file),
        "test": file.test,
        "picture": picture_digest(image.pixels),
        "look": look(image.pixels),
        "sample": None,
        "window": None,
    }
    return Read(rows=[_paired(row, lr_data, spool)])


def _with_lr(
    file: PlacedFile, data: bytes, image: DecodedImage, least_side: int, pairs: PairReading
) -> tuple[bytes, DecodedImage, bytes]:
    """Encoded HR image, the same decoded, and encoded LR image: as in their files, or PNG where they were corrected."""
    read = read_image(file.place, file.facts.path, -(-least_side // pairs.scale))
    if isinstance(read, Skipped):
        raise UnreadableImageError(f"its LR image '{read.file}': {read.reason}")
    lr_data, lr = read
    if len(lr_data) != file.facts.size:
        raise UnreadableImageError(CHANGED)
    check_fit((image.height, image.width), (lr.height, lr.width), pairs.scale)
    if not (pairs.registration or pairs.radiometry):
        return data, image, lr_data
    hr_raster, lr_raster = corrected(plain_raster(image), plain_raster(lr), pairs, least_side)
    data = encode_png(hr_raster.values)
    return data, decode(data), encode_png(lr_raster.values)


def _paired(row: Row, lr_data: bytes | None, spool: Spool) -> Row:
    """A row with its LR image, if it has one."""
    if lr_data is None:
        return row
    return {**row, "lr_stored": spool.put(lr_data), "lr_sha256": hashlib.sha256(lr_data).hexdigest()}


def _read_deep(file: SourceFile, least_side: int, spool: Spool, deep: DeepImages, pairs: PairReading | None) -> Read:
    lr = LrFile(file.lr.place, file.lr.facts.path, pairs.scale) if pairs is not None and file.lr is not None else None
    shape, chips = read_chips(file.place, file.facts.path, deep, least_side, lr)
    path = printable(file.facts.path)
    rows: list[Row] = []
    skipped: list[Skipped] = []
    empty = 0
    for chip in chips:
        if chip.empty:
            empty += 1
            continue
        try:
            rows.append(_row_of(file, _corrected(chip, pairs, least_side), spool))
        except UnreadableImageError as error:
            skipped.append(Skipped(path + (f" ({chip.where})" if chip.where else ""), str(error)))
    if empty:
        what = (
            f"{empty} of its {shape.chips} chips have no value" if shape.chips > 1 else "none of its pixels has a value"
        )
        skipped.append(Skipped(path, what))
    return Read(rows, skipped, shape)


def _corrected(chip: Chip, pairs: PairReading | None, least_side: int) -> Chip:
    if pairs is None or chip.lr is None:
        return chip
    hr, lr = corrected(chip.raster, chip.lr, pairs, least_side)
    return replace(chip, raster=hr, lr=lr)


def _row_of(file: SourceFile, chip: Chip, spool: Spool) -> Row:
    data, raster = pack(chip.raster), chip.raster
    row: Row = {
        "scene_id": file.scene,
        "stored": spool.put(data),
        "lr_stored": None,
        "format": PACKED,
        "height": raster.height,
        "width": raster.width,
        "channels": len(raster.bands),
        "bit_depth": 8 * raster.values.dtype.itemsize,
        "sha256": hashlib.sha256(data).hexdigest(),
        "origin": _origin(file) + (f" ({chip.where})" if chip.where else ""),
        "test": file.test,
        "picture": digest_of(raster),
        "look": None,
        "sample": chip.sample(),
        "window": chip.window,
    }
    return _paired(row, None if chip.lr is None else pack(chip.lr), spool)


def _origin(file: SourceFile) -> str:
    return f"{printable(PurePosixPath(file.place.uri).name)}/{printable(file.facts.path)}"


def _changed(file: PlacedFile, used: bool) -> bool:
    """Returns True if a file has changed since it was listed, or is gone though it could be used.

    Files of a folder are looked at again for that.
    """
    if file.place.remote or not file.facts.version:
        return False
    try:
        facts = Path(file.place.child(file.facts.path).path).stat()
    except OSError:
        return used
    return version_on_disk(facts) != file.facts.version
