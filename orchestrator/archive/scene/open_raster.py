"""Opens raster files with known endings by the driver of their first bytes; never opens a file that they refer to.

By default GDAL chooses among 150 drivers by content. Some of them read any file or address that the content names (VRT,
WMS, STACTA, …), and GDAL opens files beside a raster in the same way. Here a file is opened by one driver for files
that hold their own pixels, together with the companions of :data:`_TEXTS` and a TIFF mask only.
"""

import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from orchestrator.archive.scene.types import SceneError
from orchestrator.foundation.file_types import BMP, JPEG, JPEG_2000, PNG, TIFF, WEBP, suffix_of
from orchestrator.foundation.sidecars import AUX, world_endings
from trainables.images.formats import TIFF_STARTS

GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError)
"""Errors of rasterio; a failing copy raises GDAL's own class, which is no RasterioError."""

CACHE = 64 << 20
"""Bytes of decoded blocks that GDAL keeps; rasterio takes bytes, where GDAL's own option takes megabytes."""

_OPTIONS = {
    "GDAL_CACHEMAX": CACHE,
    "GDAL_NUM_THREADS": 1,
    "GDAL_PAM_ENABLED": True,
    "GDAL_TIFF_INTERNAL_MASK": True,
    # Without these two, a PNG or JPEG that is cut short reads as garbage and nothing is said.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": False,
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
    # No name ends so: whatever a file names, nothing is fetched.
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".nothing-is-fetched",
}

_FORMATS: dict[str, tuple[str, tuple[bytes, ...]]] = {
    "GTiff": ("TIFF", TIFF_STARTS),
    "JP2OpenJPEG": ("JPEG 2000", (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    "PNG": ("PNG", (b"\x89PNG\r\n\x1a\n",)),
    "JPEG": ("JPEG", (b"\xff\xd8\xff",)),
    "BMP": ("BMP", (b"BM",)),
    "WEBP": ("WebP", (b"RIFF",)),
}
"""By GDAL's driver: the format's name, and what its files begin with."""

_DRIVERS = {
    **dict.fromkeys(TIFF, "GTiff"),
    **dict.fromkeys(JPEG_2000, "JP2OpenJPEG"),
    PNG: "PNG",
    **dict.fromkeys(JPEG, "JPEG"),
    BMP: "BMP",
    WEBP: "WEBP",
}
_OTHERS = {
    b"<VRTDataset": "a virtual raster (VRT), which reads other files",
    b"<GDAL_WMS": "a description of a web service",
    b"<": "XML",
    b"%!PS": "PostScript",
    b"%PDF": "PDF",
    b"GIF8": "GIF",
    b"\x89HDF": "HDF5",
    b"CDF": "NetCDF",
    b"PK": "a ZIP archive",
}

_TEXTS = ("_RPC.TXT", "_rpc.txt", ".RPB", ".rpb", ".IMD", ".imd", ".tab", ".TAB")
"""Endings, in place of the file's own, of further companions: plain text that names no file that GDAL would open."""
_MASK = ".msk"
_MOST_PAM = 64 * 2**20
_REFERRING = {"OVERVIEWS", "GEOLOCATION", "SUBDATASETS", "DERIVED_SUBDATASETS"}
"""Domains of metadata that name other files."""


@contextmanager
def gdal(**options: Any) -> Iterator[None]:
    """GDAL's options for all work on scenes; options set by the caller, such as credentials, remain."""
    with rasterio.Env(**{**_OPTIONS, **options}), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@dataclass(frozen=True, slots=True)
class Companions:
    """Companion files of a raster that are read with it.

    Attributes:
        world: World file, six numbers that place the pixels.
        pam: ``.aux.xml``, GDAL's and Esri's own metadata.
        mask: ``.msk``, a TIFF.
        texts: Others, such as rational polynomials.
    """

    world: Path | None
    pam: Path | None
    mask: Path | None
    texts: tuple[Path, ...]

    def __bool__(self) -> bool:
        return bool(self.world or self.pam or self.mask or self.texts)


@contextmanager
def open_raster(path: Path | str) -> Iterator["rasterio.io.DatasetReader"]:
    """Opens a file that holds its own pixels; a handle of its own, closed at the end.

    Raises:
        SceneError: ``unreadable`` or ``unsupported``, with what was expected and found.
    """
    name = str(path)
    if name.startswith("/vsimem/"):  # bytes that the caller holds in memory
        with _dataset(name, _DRIVERS.get(suffix_of(name), "GTiff"), "EMPTY_DIR") as dataset:
            yield dataset
        return
    local = Path(path)
    driver = _driver_of(local)
    beside = companions(local)
    if not beside:
        with _dataset(name, driver, "EMPTY_DIR") as dataset:
            yield dataset
        return
    with (
        tempfile.TemporaryDirectory(prefix="rayscale-") as folder,
        _dataset(_view(local, beside, Path(folder)), driver, "FALSE") as dataset,
    ):
        yield dataset


def companions(path: Path) -> Companions:
    """Finds the companion files of a raster.

    Raises:
        SceneError: ``unsupported``, for a mask that is no TIFF.
    """
    stem = path.with_suffix("")
    worlds = [stem.with_name(stem.name + ending) for ending in world_endings(suffix_of(path.name))]
    worlds += [world.with_suffix(world.suffix.upper()) for world in worlds]
    pam = path.with_name(path.name + AUX)
    masks = [path.with_name(path.name + _MASK), path.with_name(path.name + _MASK.upper())]
    mask = _first(masks)
    if mask is not None and not _start(mask).startswith(TIFF_STARTS):
        raise SceneError("unsupported", f"The mask {mask.name} beside it is no TIFF; mend it or take it away.")
    texts = [stem.with_name(stem.name + ending) for ending in _TEXTS]
    return Companions(_first(worlds), _first([pam]), mask, tuple(text for text in texts if _is_regular(text)))


def read_pam(path: Path) -> ElementTree.Element:
    """Parses an ``.aux.xml``.

    Raises:
        SceneError: ``unsupported``, where it is too large or no XML.
    """
    try:
        if path.stat().st_size > _MOST_PAM:
            raise SceneError("unsupported", f"{path.name} beside it is larger than {_MOST_PAM >> 20} MB.")
        data = path.read_bytes()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise SceneError("unsupported", f"{path.name} beside it defines entities, which no .aux.xml does.")
        return ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise SceneError(
            "unsupported",
            f"{path.name} beside it cannot be read ({str(error).splitlines()[0]}); mend it or take it away.",
        ) from None


def _view(path: Path, beside: Companions, folder: Path) -> str:
    """A folder in which a file and its companions are all there is, under names of our own."""
    link = folder / f"scene{path.suffix}"
    link.symlink_to(path.absolute())
    for companion in (beside.world, beside.mask, *beside.texts):
        if companion is not None:
            base = link.name if companion == beside.mask else "scene"
            kept = path.name if companion == beside.mask else path.with_suffix("").name
            (folder / (base + companion.name[len(kept) :])).symlink_to(companion.absolute())
    if beside.pam is not None:
        root = read_pam(beside.pam)
        for system in root.iter("SRS"):
            if "://" in (system.text or "") or (system.text or "").strip().startswith(("/", ".")):
                raise SceneError(
                    "unsupported",
                    f"{beside.pam.name} beside it names a reference system by an address or a file, which is not "
                    "followed; write the system itself, such as EPSG:32633.",
                )
        for parent in list(root.iter()):
            for child in list(parent):
                if child.tag == "Metadata" and child.get("domain", "").upper() in _REFERRING:
                    parent.remove(child)
        (folder / f"{link.name}{AUX}").write_bytes(ElementTree.tostring(root))
    return str(link)


@contextmanager
def _dataset(name: str, driver: str, siblings: str) -> Iterator["rasterio.io.DatasetReader"]:
    try:
        with gdal(GDAL_DISABLE_READDIR_ON_OPEN=siblings):
            dataset = rasterio.open(name, driver=driver, sharing=False)
    except GDAL_ERRORS as error:
        raise SceneError("unreadable", f"It is no raster that can be opened: {plain(error)}.") from None
    try:
        yield dataset
    finally:
        dataset.close()


def _driver_of(path: Path) -> str:
    suffix = suffix_of(path.name)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SceneError("unreadable", "It is no file with pixels, but a folder, a pipe or a device.")
        if not found.st_size:
            raise SceneError("unreadable", "The file is empty.")
        start = _start(path)
    except FileNotFoundError:
        raise SceneError("unreadable", "There is no such file.") from None
    except PermissionError:
        raise SceneError("denied", "The system refuses access to the file.") from None
    except OSError as error:
        raise SceneError("unreadable", f"The file cannot be read: {error.strerror}.") from None
    if suffix not in _DRIVERS:
        endings = ", ".join(_DRIVERS)
        raise SceneError(
            "unsupported",
            f"Files ending in '{suffix}' are not opened as scenes: expected one of {endings}, which hold their own "
            "pixels. Convert it, for instance by gdal_translate.",
        )
    # A picture under another picture's ending is a picture; each of these formats holds its own pixels.
    for driver, (_, starts) in _FORMATS.items():
        if start.startswith(starts) and (driver != "WEBP" or start[8:12] == b"WEBP"):
            return driver
    what = next((kind for begins, kind in _OTHERS.items() if start.lstrip().startswith(begins)), "something else")
    formats = ", ".join(name for name, _ in _FORMATS.values())
    raise SceneError(
        "unreadable",
        f"It is no raster that can be opened: expected {_FORMATS[_DRIVERS[suffix]][0]} (or another of {formats}, which "
        f"hold their own pixels), found {what}. Convert it, for instance by gdal_translate.",
    )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _first(paths: list[Path]) -> Path | None:
    return next((path for path in paths if _is_regular(path)), None)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def plain(error: Exception) -> str:
    """Message of rasterio or GDAL, in one line of at most 200 characters."""
    text = " ".join(str(error.__context__ or error).split()) or type(error).__name__
    return text[:200].rstrip(". ")
