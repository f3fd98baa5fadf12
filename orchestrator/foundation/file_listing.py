"""Listing of a place that a user names: every file below it is used, refused, or passed over with a reason.

Links to files and folders are followed, and each real folder is entered once. Folders are read by :mod:`os`, which
accepts names that are not UTF-8, and buckets by boto3.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.foundation import summaries
from orchestrator.foundation.buckets.s3 import objects_below
from orchestrator.foundation.file_types import NIFTI_COMPRESSED, ZARR_METADATA
from trainables.errors import printable, reason_of

if TYPE_CHECKING:
    from orchestrator.foundation.storage import Storage

OWN_FOLDERS = frozenset({"_parts", "_ledger", "_stac", "_report"})
"""Folders that an archive's outputs come with: work in progress, the ledger, the STAC collection and the report."""

_HIDDEN, _NO_ENDING, _BY_PATTERN, _OTHER = "hidden", "without an ending", "left out by patterns", "with other endings"
_ENDINGS_COUNTED = 50
_SPECIAL = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file below a place.

    Attributes:
        path: Relative to the place, with ``/`` between its parts.
        size: Its bytes.
        modified: Time of its last change in seconds since 1970.
        version: Version of its content: the ETag in a bucket, size and time of change in nanoseconds elsewhere.
    """

    path: str
    size: int
    modified: float
    version: str = ""

    @classmethod
    def on_disk(cls, path: str, found: os.stat_result) -> "FileFacts":
        """Facts of a file of a folder, as the operating system states them."""
        return cls(path, found.st_size, found.st_mtime_ns / 1e9, version_on_disk(found))


def version_on_disk(found: os.stat_result) -> str:
    """Version of a file of a folder: its size and the time of its last change."""
    return f"{found.st_size}-{found.st_mtime_ns}"


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file or folder that is not used, by its printable path, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class FileListing:
    """Files below a place.

    Attributes:
        files: Usable files, sorted by path.
        refused: Files that may be meant and cannot be used, such as a broken link with an ending that is asked for.
        passed_over: Files that are left out without loss, such as a second link to the same folder.
        counts: Number of files passed over by ending, and of those hidden or left out by patterns.
    """

    files: list[FileFacts] = field(default_factory=list)
    refused: list[PassedOver] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def passed(self) -> int:
        """Number of files and folders that were skipped."""
        return self.counts.total() + len(self.passed_over)

    def summary(self, most: int = 8) -> str:
        """One line such as "3 .txt, 1 .nc, 2 hidden"; "" where nothing was passed over.

        Args:
            most: Kinds of files that are counted by name; the others are counted together.
        """
        kinds = sorted(self.counts.items(), key=lambda kind: (-kind[1], kind[0]))
        words = [f"{count} {kind}" for kind, count in kinds[:most]]
        if rest := sum(count for _, count in kinds[most:]):
            words.append(f"{rest} {_OTHER}")
        reasons = Counter(file.reason.partition(":")[0] for file in self.passed_over)
        words += [f"{count} × {reason}" for reason, count in reasons.most_common()]
        return ", ".join(words)

    def report(self) -> summaries.PassedOver:
        """Report on skipped files for scripts: a ``summary``, ``counts``, and ``files`` with a reason each."""
        return {
            "summary": self.summary(),
            "counts": dict(sorted(self.counts.items())),
            "files": [{"file": file.path, "reason": file.reason} for file in self.passed_over],
        }


def list_tree(
    place: "Storage",
    endings: Collection[str] | None = None,
    include: Collection[str] = (),
    exclude: Collection[str] = (),
    outputs: "Storage | None" = None,
    also: Callable[[str], bool] | None = None,
) -> FileListing:
    """Lists all files below a folder or prefix; none where there is no such place.

    Args:
        place: The folder or prefix.
        endings: Such as ``.png``, in small letters; None takes every file.
        include: Patterns; if there are any, a path below ``place`` must match one of them. ``*`` matches ``/`` too.
        exclude: Patterns; a path must match none of them.
        outputs: A folder that is never entered, though links may lead there.
        also: Says of a path whether it is taken whatever its ending and the patterns; see :func:`take_out`.

    Raises:
        OSError: If the folder or bucket itself cannot be read.
    """
    choice = _Choice(endings, include, exclude, also)
    if place.remote:
        _list_bucket(place, choice)
    else:
        beside = None if outputs is None or outputs.remote else os.path.realpath(outputs.path)
        _FolderWalk(os.path.realpath(place.path), choice, beside).run()
    choice.listing.files.sort(key=lambda facts: facts.path)
    for named in (choice.listing.refused, choice.listing.passed_over):
        named.sort(key=lambda file: file.path)
    return choice.listing


def take_out(
    listing: FileListing,
    files: Iterable[FileFacts],
    endings: Collection[str] | None = None,
    include: Collection[str] = (),
    exclude: Collection[str] = (),
) -> FileListing:
    """The same listing without those of ``files`` that endings and patterns pass over, which it counts.

    Args:
        listing: From :func:`list_tree`.
        files: Some of its files.
        endings: As for :func:`list_tree`.
        include: Likewise.
        exclude: Likewise.
    """
    choice = _Choice(endings, include, exclude)
    choice.listing.counts.update(listing.counts)
    left_out = {facts.path for facts in files if not choice.wanted(facts.path)}
    kept = [facts for facts in listing.files if facts.path not in left_out]
    return FileListing(kept, listing.refused, listing.passed_over, choice.listing.counts)


def lines_about(place: str, listing: FileListing, most: int = 5) -> list[str]:
    """Lines on the files of a place that are not used; none if all are.

    Args:
        place: The place, as it was named.
        listing: Listing of that place.
        most: Files of either kind that are named.
    """
    lines = [f"{place}: not used: {file.path}: {file.reason}" for file in listing.refused[:most]]
    if len(listing.refused) > most:
        lines.append(f"{place}: and {len(listing.refused) - most} more that cannot be used")
    if summary := listing.summary():
        lines.append(f"{place}: passed over: {summary}")
    lines += [f"{place}: passed over: {file.path}: {file.reason}" for file in listing.passed_over[:most]]
    return lines


def nothing_found(place: "Storage", listing: FileListing, endings: Collection[str], what: str = "images") -> str:
    """The sentence for a place without a usable file: the expected files, and those found instead."""
    expected = ", ".join(sorted(endings))
    if listing.refused:
        first, count = listing.refused[0], len(listing.refused)
        return (
            f"'{place.uri}' holds no {what} that can be used ({expected}); {count} cannot, such as '{first.path}': "
            f"{first.reason}."
        )
    if not listing.passed:
        return f"'{place.uri}' is empty; expected {what} ({expected})."
    return f"'{place.uri}' holds {listing.passed} files but no {what} ({expected}); there are {listing.summary()}."


def is_utf8(name: str) -> bool:
    """Returns True if a name from the operating system is UTF-8, as JSON, Parquet and GDAL need it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def matches(path: str, include: Collection[str] = (), exclude: Collection[str] = ()) -> bool:
    """Returns True if patterns let a path below the place through; ``*`` matches ``/`` too, and case counts."""
    if include and not any(fnmatchcase(path, pattern) for pattern in include):
        return False
    return not any(fnmatchcase(path, pattern) for pattern in exclude)


class _Choice:
    """Decides about each file by its name and keeps the listing."""

    def __init__(
        self,
        endings: Collection[str] | None,
        include: Collection[str],
        exclude: Collection[str],
        also: Callable[[str], bool] | None = None,
    ) -> None:
        self._endings, self._include, self._exclude, self._also = endings, include, exclude, also
        self.listing = FileListing()

    def kind(self, path: str) -> str | None:
        """Class that a file is counted under if it is skipped; None for one that is wanted."""
        name = path.rpartition("/")[2]
        if name.startswith(".") and name not in ZARR_METADATA:
            return _HIDDEN
        if self._also is not None and self._also(path):
            return None
        if self._endings is not None and (ending := _ending(name)) not in self._endings:
            return printable(ending) or _NO_ENDING
        if (self._include or self._exclude) and not matches(path, self._include, self._exclude):
            return _BY_PATTERN
        return None

    def wanted(self, path: str) -> bool:
        """Returns True if a file is wanted; counts it otherwise."""
        kind = self.kind(path)
        if kind is not None:
            self.count(kind)
        return kind is None

    def enters(self, path: str) -> bool:
        """Returns True if a folder is the user's."""
        name = path.rpartition("/")[2]
        if name.startswith("."):
            self.count(_HIDDEN)
            return False
        if name in OWN_FOLDERS and self._endings is not None:
            self.pass_over(path, "folder of RayScale's own")
            return False
        return True

    def count(self, kind: str) -> None:
        """Counts a file that is passed over."""
        counts = self.listing.counts
        counts[kind if kind in counts or len(counts) < _ENDINGS_COUNTED else _OTHER] += 1

    def use(self, facts: FileFacts) -> None:
        """Adds a file."""
        self.listing.files.append(facts)

    def refuse(self, path: str, reason: str) -> None:
        """Names what cannot be used: as refused where it is meant, else as passed over."""
        (self.pass_over if self.kind(path) else self.refuse_folder)(path, reason)

    def refuse_folder(self, path: str, reason: str) -> None:
        """Names what cannot be used, whatever its name."""
        self.listing.refused.append(PassedOver(printable(path), reason))

    def pass_over(self, path: str, reason: str) -> None:
        """Names what is not used and is not missed."""
        self.listing.passed_over.append(PassedOver(printable(path), reason))


def _ending(name: str) -> str:
    if name.lower().endswith(NIFTI_COMPRESSED):
        return NIFTI_COMPRESSED
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


class _FolderWalk:
    """Walks a folder: real folders first, so that they and not links give files their paths, then links by path."""

    def __init__(self, root: str, choice: _Choice, outputs: str | None) -> None:
        self._root, self._choice = root, choice
        # Outputs around the root, such as `upscale photos .`, are no reason to pass over all that is in it.
        self._outputs = None if outputs is None or _is_below(root, outputs) else outputs
        self._entered: dict[str, str] = {}  # real folders, with their paths below the root
        self._linked: dict[str, str] = {}  # real files that links have led to
        self._folder_links: list[tuple[str, str]] = []
        self._file_links: list[tuple[str, str]] = []

    def run(self) -> None:
        """Walks; a root that does not exist is empty.

        Raises:
            OSError: If the root cannot be read.
        """
        try:
            self._enter("", self._root)
        except FileNotFoundError:
            return
        while self._folder_links:
            self._folder_links.sort(reverse=True)
            path, link = self._folder_links.pop()
            try:
                self._follow_folder(path, link)
            except OSError as error:
                self._choice.refuse_folder(path, f"folder that cannot be read: {reason_of(error)}")
        for path, link in sorted(self._file_links):
            try:
                self._follow_file(path, link)
            except OSError as error:
                self._choice.refuse(path, f"link that cannot be followed: {reason_of(error)}")

    def _enter(self, path: str, real: str) -> None:
        """Reads a folder and all real ones below it; an error of the first is the caller's."""
        self._entered[real] = path
        inside = self._read(path, real)
        while inside:
            below, folder = inside.pop()
            try:
                inside += self._read(below, folder)
            except OSError as error:
                self._choice.refuse_folder(below, f"folder that cannot be read: {reason_of(error)}")

    def _read(self, path: str, real: str) -> list[tuple[str, str]]:
        """Takes the files of one folder, keeps links for later, and returns the folders in it."""
        folders = []
        with os.scandir(real) as entries:
            for entry in entries:
                below = f"{path}/{entry.name}" if path else entry.name
                try:
                    if self._take(below, entry):
                        folders.append((below, entry.path))
                except OSError as error:  # it went away meanwhile, or its file system is ill
                    self._choice.refuse(below, f"file that cannot be read: {reason_of(error)}")
        return folders

    def _take(self, path: str, entry: "os.DirEntry[str]") -> bool:
        """Takes one entry; True for a folder that is to be read."""
        folder = entry.is_dir(follow_symlinks=False)
        if not is_utf8(entry.name):
            refuse = self._choice.refuse_folder if folder else self._choice.refuse
            refuse(path, f"name that is not UTF-8: rename the {'folder' if folder else 'file'}")
        elif folder:
            return self._choice.enters(path) and self._is_new(path, entry.path)
        elif entry.is_symlink():
            self._keep_link(path, entry.path)
        elif not entry.is_file(follow_symlinks=False):
            self._refuse_special(path, entry.stat(follow_symlinks=False).st_mode)
        elif self._choice.wanted(path):
            self._use(path, entry.stat(follow_symlinks=False))
        return False

    def _is_new(self, path: str, real: str) -> bool:
        """Returns True if a real folder is entered for the first time; keeps it."""
        if real in self._entered:
            self._choice.pass_over(path, f"folder that is listed already: {printable(self._entered[real]) or 'INPUT'}")
            return False
        if self._outputs is not None and _is_below(real, self._outputs):
            self._choice.pass_over(path, "folder of the outputs")
            return False
        self._entered[real] = path
        return True

    def _keep_link(self, path: str, link: str) -> None:
        try:
            mode = Path(link).stat().st_mode
        except FileNotFoundError:
            self._choice.refuse(path, f"broken link: there is no {printable(str(Path(link).readlink()))}")
        except OSError as error:
            self._choice.refuse(path, f"link that cannot be followed: {reason_of(error)}")
        else:
            if stat.S_ISDIR(mode):
                if self._choice.enters(path):
                    self._folder_links.append((path, link))
            elif not stat.S_ISREG(mode):
                self._refuse_special(path, mode)
            elif self._choice.wanted(path):
                self._file_links.append((path, link))

    def _follow_folder(self, path: str, link: str) -> None:
        real = os.path.realpath(link)
        if _is_below(str(Path(link).parent), real) or _is_below(self._root, real):
            self._choice.pass_over(path, "link to a folder that holds it")
        elif self._is_new(path, real):
            self._enter(path, real)

    def _follow_file(self, path: str, link: str) -> None:
        real = os.path.realpath(link)
        folder, name = os.path.split(real)
        same = self._linked.get(real)
        if same is None and folder in self._entered:
            listed = f"{self._entered[folder]}/{name}".lstrip("/")
            same = listed if self._choice.kind(listed) is None and is_utf8(name) else None
        if same is not None:
            self._choice.pass_over(path, f"link to a file that is listed already: {printable(same)}")
        elif self._outputs is not None and _is_below(real, self._outputs):
            self._choice.refuse(path, "link into the outputs")
        else:
            self._linked[real] = path
            self._use(path, Path(real).stat())

    def _use(self, path: str, facts: os.stat_result) -> None:
        self._choice.use(FileFacts.on_disk(path, facts))

    def _refuse_special(self, path: str, mode: int) -> None:
        kind = _SPECIAL.get(stat.S_IFMT(mode), "a special file")
        self._choice.refuse(path, f"no regular file: {kind}, which is never opened")


def _is_below(path: str, folder: str) -> bool:
    """Returns True if a real path is a real folder or in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _list_bucket(place: "Storage", choice: _Choice) -> None:
    entered: dict[str, bool] = {"": True}
    for found in objects_below(place.uri):
        *folders, name = found.path.split("/")
        if not name:
            continue  # the mark of a folder, which some tools leave
        if any(part in ("", ".", "..") for part in (*folders, name)):
            choice.refuse(
                found.path, "key with an empty part, '.' or '..', which no folder can hold: rename the object"
            )
        elif _enters_all(folders, choice, entered) and choice.wanted(found.path):
            choice.use(FileFacts(found.path, found.size, found.modified, found.version))


def _enters_all(folders: list[str], choice: _Choice, entered: dict[str, bool]) -> bool:
    """Returns True if all folders of a key are the user's; each is asked about once, as folders of a disk are."""
    path = ""
    for part in folders:
        path = f"{path}/{part}" if path else part
        if path not in entered:
            entered[path] = choice.enters(path)
        if not entered[path]:
            return False
    return True
