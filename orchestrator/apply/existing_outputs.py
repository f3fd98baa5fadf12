"""Checks of existing outputs of plain images: whole files, and none that would replace an input."""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.foundation.file_types import PICTURE_OUTPUTS, PNG, suffix_of
from orchestrator.foundation.storage import Storage
from trainables.images.png_chunks import SIGNATURE, Chunk

_PNG_END = Chunk(b"IEND", b"").encoded()
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def is_whole(output: Storage) -> bool:
    """Returns whether an existing output begins and ends like its file type, unlike an interrupted copy.

    True in a bucket, where no object is ever incomplete, and for file types other than PNG and JPEG.
    """
    ending = suffix_of(output.path)
    if output.remote or ending not in PICTURE_OUTPUTS:
        return True
    start, end = (SIGNATURE, _PNG_END) if ending == PNG else (_JPEG_START, _JPEG_END)
    try:
        with Path(output.path).open("rb") as stream:
            head = stream.read(len(start))
            stream.seek(0, 2)
            if stream.tell() < len(start) + len(end):
                return False
            stream.seek(-len(end), 2)
            return head == start and stream.read() == end
    except OSError:
        return False


def replaced_input(pairs: Iterable[tuple[Storage, Storage]]) -> Storage | None:
    """Returns the first input that an output would replace, links of folders resolved; None if there is none.

    Args:
        pairs: Inputs with their outputs.
    """
    folders: dict[Path, Path] = {}

    def real(place: Storage) -> str:
        if place.remote:
            return place.uri
        path = Path(place.path)
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve()
        return str(folders[path.parent] / path.name)

    both = list(pairs)
    outputs = {real(output) for _, output in both}
    return next((source for source, _ in both if real(source) in outputs), None)
