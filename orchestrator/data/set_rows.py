"""The images of a set as rows of its shards: each read, decoded and described once, one row for each picture."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypedDict

from orchestrator.data.image_sets import Skipped, SourceFile, read_image
from trainables.errors import ImageSetError, printable, reason_of
from trainables.images.picture_digest import look, picture_digest


class PackedRow(TypedDict):
    """The columns of a shard: an image, encoded as in its file, and its properties."""

    scene_id: str
    image: bytes
    format: str
    height: int
    width: int
    channels: int
    bit_depth: int
    sha256: str
    origin: str


class Row(PackedRow):
    """A row to pack, with values that are not packed: whether it is of a test folder, its picture's digest and hash."""

    test: bool
    picture: str
    look: int | None


_THREADS, _NAMED = 8, 3
_CHANGED = "it changed while it was being read"


def read_rows(files: Sequence[SourceFile], least_side: int) -> tuple[list[Row], list[Skipped]]:
    """Reads an image set.

    A picture that comes twice, byte for byte, encoded in another way, turned or mirrored, is one row: that of the
    first file by path, files of a test folder coming last.

    Args:
        files: Files to read.
        least_side: Least height and width in pixels; smaller images are left out.

    Returns:
        Rows in the order of their digests, and the files left out.

    Raises:
        ImageSetError: If files changed while they were being read.
    """
    ordered = sorted(files, key=lambda file: (file.test, file.facts.path))
    with ThreadPoolExecutor(_THREADS) as pool:
        outcomes = list(pool.map(lambda file: _read_row(file, least_side), ordered))
    skipped = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    if changed := [skip.file for skip in skipped if skip.reason == _CHANGED]:
        named = ", ".join(f"'{name}'" for name in changed[:_NAMED])
        raise ImageSetError(
            f"{len(changed)} images of '{files[0].place.uri}' changed while they were being read, such as {named}: "
            "wait until nothing writes there any more, and run again."
        )
    rows: dict[str, Row] = {}
    pictures: dict[str, Row] = {}
    for row in (outcome for outcome in outcomes if not isinstance(outcome, Skipped)):
        if row["sha256"] in rows:
            skipped.append(Skipped(row["origin"], f"the same image as {rows[row['sha256']]['origin']}"))
        elif row["picture"] in pictures:
            skipped.append(Skipped(row["origin"], f"the same picture as {pictures[row['picture']]['origin']}"))
        else:
            rows[row["sha256"]] = pictures[row["picture"]] = row
    return [rows[digest] for digest in sorted(rows)], skipped


def _read_row(file: SourceFile, least_side: int) -> Row | Skipped:
    path = printable(file.facts.path)
    try:
        read = read_image(file.place, file.facts.path, least_side)
        if _changed(file, None if isinstance(read, Skipped) else len(read[0])):
            return Skipped(path, _CHANGED)
        if isinstance(read, Skipped):
            return read
        data, image = read
        return {
            "scene_id": file.scene,
            "image": data,
            "format": image.format,
            "height": image.height,
            "width": image.width,
            "channels": image.channels,
            "bit_depth": 8,
            "sha256": hashlib.sha256(data).hexdigest(),
            "origin": f"{printable(PurePosixPath(file.place.uri).name)}/{path}",
            "test": file.test,
            "picture": picture_digest(image.pixels),
            "look": look(image.pixels),
        }
    except OSError:  # the storage's, not this file's: to leave out what it holds would make another set
        raise
    except Exception as error:
        return Skipped(path, f"it cannot be used: {reason_of(error)}")


def _changed(file: SourceFile, read: int | None) -> bool:
    """Returns True if a file has changed since it was listed; files of a folder are checked again for that."""
    if read is not None and read != file.facts.size:
        return True
    if file.place.remote or not file.facts.version:
        return False
    try:
        facts = Path(file.place.child(file.facts.path).path).stat()
    except OSError:
        return read is not None
    return f"{facts.st_size}-{facts.st_mtime_ns}" != file.facts.version
