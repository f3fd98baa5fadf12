"""Files beside an image that georeference it, or that mark some of its values as missing.

World files follow ESRI's convention, in the spellings that GDAL looks for; ``.aux.xml`` is GDAL's own.
"""

from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from orchestrator.foundation.file_types import PICTURES, RASTERS
from orchestrator.foundation.storage import Storage

AUX = ".aux.xml"
_OTHERS = (".tab", ".points")
_PLACE = (b"<SRS", b"<GeoTransform", b"<GCPList", b'domain="RPC"')
_NO_VALUE = b"<NoDataValue"


def world_endings(ending: str) -> tuple[str, ...]:
    """Returns the endings of a raster's world file: ``.tif`` has ``.tfw``, ``.tifw`` and ``.wld``.

    Args:
        ending: Of the raster's name, in small letters; empty for none.
    """
    return (f".{ending[1]}{ending[-1]}w", f"{ending}w", ".wld") if ending else (".wld",)


ENDINGS = frozenset({".xml", *_OTHERS}.union(*(world_endings(ending) for ending in PICTURES | RASTERS)))
"""Last endings of all such files, in small letters."""


def names_beside(path: str) -> list[str]:
    """Returns the paths at which such a file of an image may lie, in small letters."""
    place = PurePosixPath(path.lower())
    stem, ending = str(place.with_suffix("")), place.suffix
    endings = [*world_endings(ending), *_OTHERS] if ending in PICTURES else []
    return [stem + ending for ending in endings] + [f"{place}{AUX}", stem + AUX, f"{place}.wld", f"{place}.points"]


def lost_beside(path: str, beside: dict[str, str], read: Callable[[str], bytes]) -> str | None:
    """Returns the sentence on what an image would lose of the files beside it; None if nothing.

    Args:
        path: Path of the image.
        beside: Paths of all such files around, by themselves in small letters.
        read: Gives a file's content.
    """
    for name in names_beside(path):
        if name not in beside:
            continue
        short = PurePosixPath(beside[name]).name
        content = read(beside[name]) if name.endswith(AUX) else b""
        if not content or any(word in content for word in _PLACE):
            return (
                f"it is georeferenced by '{short}' beside it, and its place on earth would be lost: make it a GeoTIFF, "
                "or move that file away"
            )
        if _NO_VALUE in content:
            return (
                f"'{short}' beside it says that some of its values mean nothing, and they would be upscaled as "
                "colours: make it a GeoTIFF, or move that file away"
            )
    return None


def files_beside(image: Storage) -> list[str]:
    """Returns the paths of such files in the folder of one image; in a bucket, of those in the image's own letters."""
    if not image.remote:
        folder = Path(image.path).parent
        return [str(file) for file in folder.iterdir() if file.suffix.lower() in ENDINGS]
    from pyarrow import fs

    stem = len(str(PurePosixPath(image.path).with_suffix("")))
    candidates = [image.path[:stem] + name[stem:] for name in names_beside(image.path)]
    found = image.filesystem.get_file_info(candidates)
    return [info.path for info in found if info.type == fs.FileType.File]


def by_small_letters(paths: Collection[str]) -> dict[str, str]:
    """Returns paths by themselves in small letters."""
    return {path.lower(): path for path in paths}
