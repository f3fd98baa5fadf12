"""Lists a set of images in a folder or bucket, and finds the scene that each one shows."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.experiment_images import ImageSet, ScenePattern, Scenes, SceneTable
from orchestrator.file_listing import FileFacts, FileListing, list_tree, nothing_found
from orchestrator.stages import fingerprint
from orchestrator.storage import Storage
from trainables.errors import ImageSetError, UsageError, suggestion
from trainables.images import EXTENSIONS, DecodedImage, UnreadableImageError, decode


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of an image set: where it is, what it is called and which scene it shows."""

    place: Storage
    facts: FileFacts
    scene: str
    test: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why."""

    file: str
    reason: str


class SceneFinder:
    """Finds the scene of an image from its relative path."""

    def __init__(self, pattern: str | None, table: dict[str, str] | None, folder: bool) -> None:
        self._pattern, self._table, self._folder = re.compile(pattern) if pattern else None, table, folder

    @property
    def every_file(self) -> bool:
        """Whether each file is its own scene."""
        return self._pattern is None and self._table is None and not self._folder

    def __call__(self, path: str) -> str:
        """The scene's name.

        Raises:
            ImageSetError: If the table lacks the file or the pattern does not match.
        """
        name = path
        if self._table is not None:
            name = PurePosixPath(path).name
            if name not in self._table:
                raise ImageSetError(f"The scene table has no row for '{name}'.{suggestion(name, self._table)}")
            if not self._table[name]:
                raise ImageSetError(f"The scene table's row for '{name}' names no scene.")
            name = self._table[name]
        elif self._folder:
            return str(PurePosixPath(path).parent)
        if self._pattern is None:
            return name
        match = self._pattern.search(name)
        if match is None or not match.groups() or match.group(1) is None:
            raise ImageSetError(f"The scene pattern '{self._pattern.pattern}' finds no scene in '{name}'.")
        return match.group(1)


def list_files(
    images: ImageSet,
    root: Storage,
    test_images: str | None = None,
    report: Callable[[str, FileListing], None] = lambda _, __: None,
) -> list[SourceFile]:
    """Lists an image set without opening its images.

    Args:
        images: The set.
        root: What relative folders start from.
        test_images: A folder of test images, if there is one.
        report: Called with each folder, as it was named, and all that was found in it.

    Raises:
        StorageError: If a folder or bucket cannot be read.
        ImageSetError: If a folder is empty or holds no images, or if a scene is unknown or in both folders.
    """
    scene_of = _scene_finder(images.scenes, root)
    files = []
    for folder in (images.images, test_images):
        if folder is not None:
            place = root.resolve(folder)
            listing = list_images(place)
            report(folder, listing)
            files += _of_set(place, listing.files, scene_of, test=folder is test_images)
    if test_images is not None:
        shared = {f.scene for f in files if f.test} & {f.scene for f in files if not f.test}
        if shared:
            raise ImageSetError(
                f"{len(shared)} scenes are in both '{images.images}' and '{test_images}', such as "
                f"'{min(shared)}'; a test scene must not be trained on."
            )
    return files


def listing_fingerprint(files: Iterable[SourceFile]) -> str:
    """Changes when a file is added, removed, resized, touched or moved to another scene."""
    return fingerprint([(f.facts.path, f.facts.size, f.facts.modified, f.scene, f.test) for f in files])


def read_image(place: Storage, path: str, least_side: int) -> tuple[bytes, DecodedImage] | Skipped:
    """One file's bytes and its pixels, or why it is left out.

    Args:
        place: The folder that the file is in.
        path: Its path below that.
        least_side: Least height and width in pixels.
    """
    data = place.child(path).read_bytes()
    try:
        return data, decode(data, least_side)
    except UnreadableImageError as error:
        return Skipped(path, str(error))


def left_out(skipped: Iterable[Skipped]) -> str:
    """The commonest reasons in brackets, such as " (left out: 9 × smaller than the 80×80 needed)"; "" without any."""
    reasons = Counter(re.sub(r"^\d+×\d+ pixels, ", "", one.reason) for one in skipped)
    told = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    return f" (left out: {told})" if told else ""


def list_images(place: Storage) -> FileListing:
    """The images below a place, known by their names, and what else there is.

    Raises:
        StorageError: If the folder or bucket cannot be read.
        ImageSetError: If it is empty or holds no images.
    """
    place.check_readable()
    listing = list_tree(place, EXTENSIONS)
    if not listing.files:
        raise ImageSetError(nothing_found(place, listing, EXTENSIONS))
    return listing


def _of_set(place: Storage, files: list[FileFacts], scene_of: SceneFinder, test: bool) -> list[SourceFile]:
    # Where every file is its own scene, files of the same name in both folders are two scenes.
    own = "test/" if test and scene_of.every_file else ""
    return [SourceFile(place, facts, own + scene_of(facts.path), test) for facts in files]


def _scene_finder(scenes: Scenes, root: Storage) -> SceneFinder:
    pattern = scenes.pattern if isinstance(scenes, SceneTable | ScenePattern) else None
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise UsageError(f"The scene pattern '{pattern}' is no regular expression: {error}.") from None
    table = _read_table(scenes, root) if isinstance(scenes, SceneTable) else None
    return SceneFinder(pattern, table, folder=scenes == "folder")


def _read_table(scenes: SceneTable, root: Storage) -> dict[str, str]:
    place = root.resolve(scenes.table)
    try:
        reader = csv.DictReader(io.StringIO(place.read_bytes().decode("utf-8-sig")), restval="")
        columns, rows = list(reader.fieldnames or []), list(reader)
    except OSError:
        raise ImageSetError(f"There is no scene table '{place.uri}'.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImageSetError(f"The scene table '{place.uri}' is no CSV file in UTF-8: {error}.") from None
    for column in (scenes.file_column, scenes.scene_column):
        if column not in columns:
            raise ImageSetError(
                f"The scene table '{place.uri}' has no column '{column}'; it has {', '.join(columns) or 'none'}."
            )
    return {PurePosixPath(row[scenes.file_column]).name: row[scenes.scene_column] for row in rows}
