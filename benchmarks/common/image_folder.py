"""Images of a folder."""

from collections.abc import Iterator
from pathlib import Path

from trainables.images.codec import EXTENSIONS, decode
from trainables.images.patch_pool import Pixels


def read_folder(folder: Path) -> Iterator[Pixels]:
    """Every image of a folder, in the order of its names."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in EXTENSIONS:
            yield decode(path.read_bytes()).pixels
