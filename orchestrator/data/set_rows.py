"""The images of a set as rows of its shards: each read, decoded and described once, one row for each picture.

Their bytes wait in a spool, so that memory grows with the number of images and not with their size.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from orchestrator.data.file_rows import CHANGED, Read, Row, read_file
from orchestrator.data.spool import Spool
from orchestrator.experiment.image_settings import DeepImages, PairReading
from orchestrator.image_sets.deep_images import FileShape, common_shape
from orchestrator.image_sets.set_files import Skipped, SourceFile
from trainables.errors import ImageSetError, printable

_THREADS, _NAMED = 8, 3
_DEEP_THREADS = 2
"""Files of any depth that are read at a time; each holds a strip of chips in memory."""


def read_rows(
    files: Sequence[SourceFile],
    least_side: int,
    spool: Spool,
    deep: DeepImages | None = None,
    pairs: PairReading | None = None,
) -> tuple[list[Row], list[Skipped], FileShape | None]:
    """Reads an image set.

    A picture that comes twice, byte for byte, encoded in another way, turned or mirrored, is one row: that of the
    first file by path, files of a test folder coming last.

    Args:
        files: Files to read.
        least_side: Least height and width in pixels; smaller images are left out.
        spool: Takes the images' bytes.
        deep: How images of any depth are read; None for 8-bit gray and RGB.
        pairs: How LR images are read that the files have; None if they have none.

    Returns:
        Rows in the order of their digests, the files left out, and of images of any depth their common shape.

    Raises:
        ImageSetError: If files changed while they were being read, or differ in depth or bands.
    """
    ordered = sorted(files, key=lambda file: (file.test, file.facts.path))
    found: list[tuple[SourceFile, Read]] = []
    with ThreadPoolExecutor(_THREADS if deep is None else _DEEP_THREADS) as pool:
        reads = pool.map(lambda file: read_file(file, least_side, spool, deep, pairs), ordered)
        found = list(zip(ordered, reads, strict=True))
    shape = common_shape([(printable(file.facts.path), read.shape) for file, read in found if read.shape])
    skipped = [skip for _, read in found for skip in read.skipped]
    if changed := [skip.file for skip in skipped if skip.reason == CHANGED]:
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
