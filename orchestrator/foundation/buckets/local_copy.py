"""A file of a place as a local path, for libraries that read nothing else."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from orchestrator.foundation.storage import Storage

_AT_ONCE = 8 * 2**20


@contextmanager
def local_copy(place: Storage, beside: Iterable[str] = ()) -> Iterator[Path]:
    """The file itself where it lies in a folder; of a bucket's, a temporary copy, fetched a few megabytes at a time.

    Args:
        place: The file.
        beside: Endings of companions, such as ``.msk``, that are copied too where the bucket has them.

    Raises:
        OSError: If it cannot be read, or there is no room for a copy in the folder for temporary files (``TMPDIR``).
    """
    if not place.remote:
        yield Path(place.path)
        return
    with tempfile.TemporaryDirectory(prefix="rayscale-") as folder:
        path = Path(folder, PurePosixPath(place.uri).name)
        _fetch(place, path)
        for ending in beside:
            with suppress(FileNotFoundError):
                _fetch(Storage(place.uri + ending), path.with_name(path.name + ending))
        yield path


def _fetch(place: Storage, path: Path) -> None:
    with place.open() as body, path.open("wb") as file:
        shutil.copyfileobj(body, file, _AT_ONCE)
