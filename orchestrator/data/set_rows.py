"""The images of a set as rows of its shards: each read, decoded and described once, one row for each picture.

Their bytes wait in a spool, so that memory grows with the number of images and not with their size.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.deep_images import Chip, FileShape, read_chips
from orchestrator.data.image_sets import Skipped, SourceFile, of_the_surroundings, read_image
from orchestrator.data.spool import Spool, Spooled
from orchestrator.experiment.image_settings import DeepImages
from trainables.errors import ImageSetError, UnreadableImageError, printable, reason_of
from trainables.images.packed_raster import pack
from trainables.images.picture_digest import digest_of, look, picture_digest


class RowFacts(TypedDict):
    """The columns of a shard beside the image."""

    scene_id: str
    format: str
    height: int
    width: int
    channels: int
    bit_depth: int
    sha256: str
    origin: str


class PackedRow(RowFacts):
    """The columns of a shard: an image, encoded as in its file or as a packed raster, and its properties."""

    image: bytes


class Row(RowFacts):
    """A row to pack: where its image waits, and values that are not packed.

    These are whether it is of a test folder, its picture's digest and hash and, of an image of any depth, some of its
    values and the window that its file states.
    """

    stored: Spooled
    test: bool
    picture: str
    look: int | None
    sample: NDArray[np.float32] | None
    window: tuple[float, float] | None


PACKED = "NPY"
"""Format of rows that hold a packed raster."""

_THREADS, _NAMED = 8, 3
_DEEP_THREADS = 2
"""Files of any depth that are read at a time; each holds a strip of chips in memory."""

_CHANGED = "it changed while it was being read"


def read_rows(
    files: Sequence[SourceFile], least_side: int, spool: Spool, deep: DeepImages | None = None
) -> tuple[list[Row], list[Skipped], FileShape | None]:
    """Reads an image set.

    A picture that comes twice, byte for byte, encoded in another way, turned or mirrored, is one row: that of the
    first file by path, files of a test folder coming last.

    Args:
        files: Files to read.
        least_side: Least height and width in pixels; smaller images are left out.
        spool: Takes the images' bytes.
        deep: How images of any depth are read; None for 8-bit gray and RGB.

    Returns:
        Rows in the order of their digests, the files left out, and of images of any depth their common shape.

    Raises:
        ImageSetError: If files changed while they were being read, or differ in depth or bands.
    """
    ordered = sorted(files, key=lambda file: (file.test, file.facts.path))
    found: list[tuple[SourceFile, _Read]] = []
    with ThreadPoolExecutor(_THREADS if deep is None else _DEEP_THREADS) as pool:
        reads = pool.map(lambda file: _read_file(file, least_side, spool, deep), ordered)
        found = list(zip(ordered, reads, strict=True))
    shape = common_shape([(printable(file.facts.path), read.shape) for file, read in found if read.shape])
    skipped = [skip for _, read in found for skip in read.skipped]
    if changed := [skip.file for skip in skipped if skip.reason == _CHANGED]:
        named = ", ".join(f"'{name}'" for name in changed[:_NAMED])
        raise ImageSetError(
            f"{len(changed)} images of '{files[0].place.uri}' changed while they were being read, such as {named}: "
            "wait until nothing writes there any more, and run again."
        )
    rows: dict[str, Row] = {}
    pictures: dict[str, Row] = {}
    for row in (row for _, read in found for row in read.rows):
        if row["sha256"] in rows:
            skipped.append(Skipped(row["origin"], f"the same image as {rows[row['sha256']]['origin']}"))
        elif row["picture"] in pictures:
            skipped.append(Skipped(row["origin"], f"the same picture as {pictures[row['picture']]['origin']}"))
        else:
            rows[row["sha256"]] = pictures[row["picture"]] = row
    return [rows[digest] for digest in sorted(rows)], skipped, shape


def common_shape(shapes: Sequence[tuple[str, FileShape]]) -> FileShape | None:
    """The data type, bands and units that all files share, given with their names; None without any.

    Raises:
        ImageSetError: If they differ.
    """
    if not shapes:
        return None
    first, shape = shapes[0]
    for name, other in shapes:
        if (other.dtype, other.bands) != (shape.dtype, shape.bands):
            raise ImageSetError(
                f"'{first}' is {shape.text} and '{name}' {other.text}: the images of a domain must have one data type "
                "and the same bands. Choose common `bands`, or make two targets of them."
            )
    return shape


@dataclass(slots=True)
class _Read:
    """Rows of one file, and what of it was left out."""

    rows: list[Row] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    shape: FileShape | None = None


def _read_file(file: SourceFile, least_side: int, spool: Spool, deep: DeepImages | None) -> _Read:
    path = printable(file.facts.path)
    try:
        read = _read_picture(file, least_side, spool) if deep is None else _read_deep(file, least_side, spool, deep)
        return _Read(skipped=[Skipped(path, _CHANGED)]) if _changed(file, bool(read.rows)) else read
    except UnreadableImageError as error:
        return _Read(skipped=[Skipped(path, str(error))])
    except OSError as error:
        # The storage's, not this file's: to leave out what it holds would make another set.
        if deep is None or of_the_surroundings(error):
            raise
        return _Read(skipped=[Skipped(path, f"it cannot be read: {reason_of(error)}")])
    except Exception as error:
        return _Read(skipped=[Skipped(path, f"it cannot be used: {reason_of(error)}")])


def _read_picture(file: SourceFile, least_side: int, spool: Spool) -> _Read:
    read = read_image(file.place, file.facts.path, least_side)
    if isinstance(read, Skipped):
        return _Read(skipped=[read])
    data, image = read
    if len(data) != file.facts.size:
        return _Read(skipped=[Skipped(printable(file.facts.path), _CHANGED)])
    row: Row = {
        "scene_id": file.scene,
        "stored": spool.put(data),
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
    return _Read(rows=[row])


def _read_deep(file: SourceFile, least_side: int, spool: Spool, deep: DeepImages) -> _Read:
    shape, chips = read_chips(file.place, file.facts.path, deep, least_side)
    rows, empty = [], 0
    for chip in chips:
        if chip.raster.empty:
            empty += 1
        else:
            rows.append(_row_of(file, chip, spool))
    skipped = []
    if empty:
        what = (
            f"{empty} of its {shape.chips} chips have no value" if shape.chips > 1 else "none of its pixels has a value"
        )
        skipped = [Skipped(printable(file.facts.path), what)]
    return _Read(rows, skipped, shape)


def _row_of(file: SourceFile, chip: Chip, spool: Spool) -> Row:
    data, raster = pack(chip.raster), chip.raster
    return {
        "scene_id": file.scene,
        "stored": spool.put(data),
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


def _origin(file: SourceFile) -> str:
    return f"{printable(PurePosixPath(file.place.uri).name)}/{printable(file.facts.path)}"


def _changed(file: SourceFile, used: bool) -> bool:
    """Returns True if a file has changed since it was listed, or is gone though it could be used.

    Files of a folder are looked at again for that.
    """
    if file.place.remote or not file.facts.version:
        return False
    try:
        facts = Path(file.place.child(file.facts.path).path).stat()
    except OSError:
        return used
    return f"{facts.st_size}-{facts.st_mtime_ns}" != file.facts.version
