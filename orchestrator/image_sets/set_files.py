"""Lists a set of images in a folder or bucket, and finds the scene that each one shows."""

import errno
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.experiment.image_settings import (
    ImageSet,
    PairFolders,
    ScenePattern,
    Scenes,
    SceneTable,
    Target,
    folder_of,
)
from orchestrator.foundation.buckets.s3 import ObjectError
from orchestrator.foundation.file_listing import FileFacts, FileListing, list_tree, nothing_found
from orchestrator.foundation.file_types import PICTURES, RASTER_INPUTS
from orchestrator.foundation.stage_record import fingerprint
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.image_pairs import Pair, pair_by_name, read_pair_table
from orchestrator.image_sets.scene_table import read_scene_table
from trainables.errors import ImageSetError, UsageError, printable, reason_of
from trainables.images.codec import DecodedImage, UnreadableImageError, decode
from trainables.images.raster import GRAY, RGB, Raster


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file below a place."""

    place: Storage
    facts: FileFacts


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of an image set: its place, name and scene; of a pair also the file of its LR image."""

    place: Storage
    facts: FileFacts
    scene: str
    test: bool
    lr: PlacedFile | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why."""

    file: str
    reason: str


_SURROUNDINGS = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOSPC,
    errno.EDQUOT,
}
"""Errors of this machine or its storage, among them a full folder of temporary files."""


class SceneRule:
    """Finds the scenes of a set's images from their paths."""

    def __init__(self, scenes: Scenes, root: Storage) -> None:
        self._table = read_scene_table(scenes, root) if isinstance(scenes, SceneTable) else None
        self._folder = scenes == "folder"
        pattern = scenes.pattern if isinstance(scenes, SceneTable | ScenePattern) else None
        try:
            self._pattern = re.compile(pattern) if pattern else None
        except re.error as error:
            raise UsageError(f"The scene pattern '{pattern}' is no regular expression: {error}.") from None

    @property
    def every_file(self) -> bool:
        """True if each file is its own scene."""
        return self._pattern is None and self._table is None and not self._folder

    def scenes(self, files: Sequence[tuple[Storage, str]], note: Callable[[str], None]) -> list[str]:
        """The scene of each file, given by its place and its path below that.

        Raises:
            ImageSetError: If the table lacks a file or is not clear about it, or the pattern does not match.
        """
        names = [path for _, path in files]
        if self._table is not None:
            names, left = self._table.match([(place.uri, path) for place, path in files])
            if left:
                note(f"the scene table has {len(left)} rows that fit no image, such as '{printable(left[0])}'")
        elif self._folder:
            return one_spelling([str(PurePosixPath(path).parent) for path in names], note)
        if self._pattern is None:
            return names if self.every_file else one_spelling(names, note)
        found = one_spelling([self._found(name) for name in names], note)
        cut = next((pair for pair in zip(names, found, strict=True) if self._cuts_number(pair[0])), None)
        if cut is not None:
            note(
                f"the scene pattern takes '{printable(cut[1])}' from the midst of a number in '{printable(cut[0])}': "
                "images whose numbers go on differently are one scene"
            )
        return found

    def _found(self, name: str) -> str:
        match = self._pattern.search(name) if self._pattern else None
        if match is None or not match.groups() or match.group(1) is None:
            pattern = self._pattern.pattern if self._pattern else ""
            raise ImageSetError(f"The scene pattern '{pattern}' finds no scene in '{printable(name)}'.")
        return match.group(1)

    def _cuts_number(self, name: str) -> bool:
        match = self._pattern.search(name) if self._pattern else None
        end = match.end(1) if match else len(name)
        return 0 < end < len(name) and name[end - 1].isdecimal() and name[end].isdecimal()


def one_spelling(scenes: Sequence[str], note: Callable[[str], None]) -> list[str]:
    """Gives scenes whose names differ only in case, spaces or Unicode form one name, so that they stay together."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for scene in scenes:
        spellings[_plain(scene)].add(scene)
    for several in spellings.values():
        if len(several) > 1:
            names = " and ".join(f"'{printable(scene)}'" for scene in sorted(several)[:3])
            note(f"{names} are taken for one scene: they differ in case, spaces or Unicode form alone")
    return [min(spellings[_plain(scene)]) for scene in scenes]


def _plain(scene: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", scene).split()).casefold()


def list_files(
    images: ImageSet,
    root: Storage,
    test_images: str | PairFolders | None = None,
    report: Callable[[str, FileListing], None] = lambda _, __: None,
    note: Callable[[str], None] = lambda _: None,
    endings: frozenset[str] | None = None,
    scale: Callable[[], int] | None = None,
) -> list[SourceFile]:
    """Lists an image set without opening its images.

    Args:
        images: The set.
        root: Root of relative folders.
        test_images: A folder of test images, or pairs, if there are any.
        report: Called with each folder, as it was named, and all that was found in it.
        note: Called with each line about scenes and pairs that a user should know.
        endings: Endings of the files that are images; by default those that the set's settings can read.
        scale: Gives the scale factor, which names of pairs may state; needed with pairs.

    Raises:
        StorageError: If a folder or bucket cannot be read.
        ImageSetError: If a folder is empty or holds no images, if a scene is unknown or in both folders, or if one side
            of a pair is missing.
    """
    rule = SceneRule(images.scenes, root)
    if endings is None:
        endings = RASTER_INPUTS if isinstance(images, Target) and images.deep else PICTURES
    folder, test_folder = folder_of(images.images), test_images and folder_of(test_images)

    def listing_of(place: str) -> FileListing:
        listing = list_images(root.resolve(place), endings)
        report(place, listing)
        return listing

    listed: list[tuple[Storage, FileFacts, bool, PlacedFile | None]] = []
    for given, test in ((images.images, False), (test_images, True)):
        if isinstance(given, PairFolders):
            assert scale is not None
            pairs = _pairs(given, root, listing_of, scale(), note)
            listed += [(*hr, test, PlacedFile(*lr)) for hr, lr in pairs]
        elif given is not None:
            place = root.resolve(given)
            listed += [(place, facts, test, None) for facts in listing_of(given).files]
    scenes = rule.scenes([(place, facts.path) for place, facts, *_ in listed], lambda line: note(f"{folder}: {line}"))
    files = [
        # Where every file is its own scene, files of the same name in both folders are two scenes.
        SourceFile(place, facts, printable("test/" + scene if test and rule.every_file else scene), test, lr)
        for (place, facts, test, lr), scene in zip(listed, scenes, strict=True)
    ]
    if test_images is not None:
        shared = {f.scene for f in files if f.test} & {f.scene for f in files if not f.test}
        if shared:
            raise ImageSetError(
                f"{len(shared)} scenes are in both '{folder}' and '{test_folder}', such as "
                f"'{min(shared)}'; a test scene must not be trained on."
            )
    return files


def _pairs(
    given: PairFolders,
    root: Storage,
    listing_of: Callable[[str], FileListing],
    scale: int,
    note: Callable[[str], None],
) -> list[tuple[tuple[Storage, FileFacts], tuple[Storage, FileFacts]]]:
    """HR and LR files of each pair, in the order of the HR files."""
    places = [root.resolve(folder) for folder in (given.hr, given.lr)]
    one_folder = places[0] == places[1]
    listings = [listing_of(given.hr)]
    listings.append(listings[0] if one_folder else listing_of(given.lr))
    hr, lr = ({facts.path: facts for facts in listing.files} for listing in listings)
    pairs: list[Pair]
    if given.table is None:
        pairs = pair_by_name(list(hr), list(lr), scale, one_folder)
    else:
        sides = [[(place.uri, path) for path in files] for place, files in zip(places, (hr, lr), strict=True)]
        pairs = read_pair_table(given.table, root).pairs(*sides)
        order = {path: number for number, path in enumerate(hr)}
        pairs.sort(key=lambda pair: order[pair[0]])
        if not one_folder and (unused := len(hr) + len(lr) - 2 * len(pairs)):
            note(f"{given.hr}: {unused} HR and LR images are in no row of the table of pairs '{given.table}'")
    return [((places[0], hr[first]), (places[1], lr[second])) for first, second in pairs]


def listing_fingerprint(files: Iterable[SourceFile]) -> str:
    """Changes when a file is added, removed, resized, touched or moved to another scene."""
    return fingerprint(
        [(*_listed(file.facts), file.scene, file.test, *(_listed(file.lr.facts) if file.lr else ())) for file in files]
    )


def _listed(facts: FileFacts) -> tuple[object, ...]:
    return (_utf8(facts.path), facts.size, facts.modified)


def _utf8(path: str) -> str:
    """A path that can be encoded; one that can be already stays as it is."""
    return path.encode("utf-8", "backslashreplace").decode()


def read_image(place: Storage, path: str, least_side: int) -> tuple[bytes, DecodedImage] | Skipped:
    """Reads one file's bytes and its pixels, or the reason for leaving it out.

    Args:
        place: The folder that the file is in.
        path: Its path below that.
        least_side: Least height and width in pixels.

    Raises:
        OSError: If the fault is not this file's: the storage does not answer, or this process has too much open.
    """
    try:
        data = place.child(path).read_bytes()
        return data, decode(data, least_side)
    except Exception as error:
        return Skipped(printable(path), reason_to_skip(error))


def reason_to_skip(error: Exception) -> str:
    """The reason for leaving out a file that could not be read.

    Raises:
        OSError: The error itself, if other files would fail alike, so that leaving them out would change a set in
            silence.
    """
    if isinstance(error, OSError) and _of_the_surroundings(error):
        raise error
    clear = isinstance(error, UnreadableImageError | ObjectError)
    return str(error) if clear else f"it cannot be read: {reason_of(error)}"


def _of_the_surroundings(error: OSError) -> bool:
    return error.kind == "transient" if isinstance(error, ObjectError) else error.errno in _SURROUNDINGS


def left_out(skipped: Iterable[Skipped]) -> str:
    """The commonest reasons in brackets, such as " (left out: 9 × smaller than the 80×80 needed)"; "" without any."""
    reasons = Counter(re.sub(r"^\d+×\d+ pixels, ", "", skip.reason) for skip in skipped)
    counted = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    return f" (left out: {counted})" if counted else ""


def no_usable_images(where: str, skipped: Iterable[Skipped]) -> ImageSetError:
    """The error of a set of which no image can be used, with the commonest reasons."""
    return ImageSetError(f"'{where}' has no usable images{left_out(skipped)}.")


def list_images(place: Storage, endings: frozenset[str] = PICTURES) -> FileListing:
    """The images below a place, recognised by the endings of their names, and the other files.

    Raises:
        StorageError: If the folder or bucket cannot be read.
        ImageSetError: If it is empty or holds no images.
    """
    place.check_readable()
    listing = list_tree(place, endings)
    if not listing.files:
        raise ImageSetError(nothing_found(place, listing, endings) + _hint(listing, endings))
    return listing


def _hint(listing: FileListing, endings: frozenset[str]) -> str:
    """The setting that is missing where files of other depths lie in place of plain images."""
    deep = {ending.rpartition(".")[2] for ending in RASTER_INPUTS - endings}
    if not any(kind.rpartition(".")[2] in deep for kind in listing.counts):
        return ""
    return (
        " Images of other depths and formats are used where a `value_range` is stated: by the target, the model's card "
        "or --value-range."
    )


def plain_raster(image: DecodedImage) -> Raster:
    """An 8-bit image with the names of its bands."""
    return Raster(image.pixels, GRAY if image.channels == 1 else RGB)
