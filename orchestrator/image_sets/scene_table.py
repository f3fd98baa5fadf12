"""The table that names each image's scene: its rows are matched with files by their paths."""

import csv
import io
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from orchestrator.experiment.image_settings import SceneTable
from orchestrator.foundation.storage import Storage
from trainables.errors import ImageSetError, printable, reason_of, suggestion

Parts = tuple[str, ...]


class SceneRows:
    """Rows of a scene table, each a path and a scene.

    A path may be relative to the folder of images, to `root` or to any folder above, absolute, of another machine, or a
    bare file name, with either kind of slash. It is compared part by part, from its end, and counts as equal where only
    its Unicode form or, failing that, its case differs. A bare name, or a path without all the folders below that of
    the images, must fit one file alone.

    Raises:
        ImageSetError: If one path is given two scenes.
    """

    def __init__(self, rows: Sequence[tuple[str, str]], where: str) -> None:
        self._where = where
        self._scenes: dict[Parts, str] = {}
        self._written: dict[Parts, str] = {}
        for path, scene in rows:
            parts, scene = parts_of(path), scene if scene.strip() else ""
            if parts in self._scenes and self._scenes[parts] != scene:
                raise ImageSetError(
                    f"The scene table '{where}' names '{path}' twice, with scene '{self._scenes[parts]}' and with "
                    f"scene '{scene}'; give it one."
                )
            if parts:
                self._scenes[parts], self._written[parts] = scene, path.strip()

    def match(self, files: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
        """Finds each file's row.

        Args:
            files: Place and path below it of every file of the set.

        Returns:
            The files' scenes, and the paths of rows that fit no file.

        Raises:
            ImageSetError: If a file has no row, rows with different scenes, or a row that fits other files too, or if
                its row names no scene.
        """
        matchings = [_Matching(self._scenes, files, folded) for folded in (False, True)]
        scenes, used = [], set()
        for number, (_, path) in enumerate(files):
            rows, others = matchings[0].rows_of(number)
            if not rows:
                rows, others = matchings[1].rows_of(number)
            if not rows:
                known, name = [row[-1] for row in self._scenes], PurePosixPath(path).name
                name = printable(path if name in known else name)
                raise ImageSetError(f"The scene table has no row for '{name}'.{suggestion(name, known)}")
            if others:
                raise ImageSetError(
                    f"The scene table's row '{self._written[rows[0]]}' fits {len(others) + 1} files, such as "
                    f"'{printable(path)}' and '{printable(files[others[0]][1])}'; write each file's path below the "
                    "folder of images."
                )
            scenes.append(self._scene(path, rows))
            used.update(rows)
        return scenes, [self._written[row] for row in self._scenes if row not in used]

    def _scene(self, path: str, rows: Sequence[Parts]) -> str:
        first = rows[0]
        for row in rows[1:]:
            if self._scenes[row] != self._scenes[first]:
                raise ImageSetError(
                    f"The scene table's rows '{self._written[first]}' and '{self._written[row]}' both fit "
                    f"'{printable(path)}', with scene '{self._scenes[first]}' and with scene '{self._scenes[row]}'; "
                    "keep one of them."
                )
        if not self._scenes[first]:
            name = printable(PurePosixPath(path).name)
            raise ImageSetError(f"The scene table's row for '{name}' names no scene.")
        return self._scenes[first]


class _Matching:
    """Matches of rows and files, by names as they are or by names without case."""

    def __init__(self, rows: Iterable[Parts], files: Sequence[tuple[str, str]], folded: bool) -> None:
        def key(parts: Parts) -> Parts:
            return tuple(part.casefold() for part in parts) if folded else parts

        self._below = [key(parts_of(path)) for _, path in files]
        self._whole = [key(parts_of(f"{place}/{path}")) for place, path in files]
        self._files_ending: dict[Parts, list[int]] = defaultdict(list)
        for number, parts in enumerate(self._below):
            for tail in _tails(parts):
                self._files_ending[tail].append(number)
        self._rows: dict[Parts, list[Parts]] = defaultdict(list)
        self._rows_ending: dict[Parts, list[Parts]] = defaultdict(list)
        for row in rows:
            self._rows[key(row)].append(row)
            for tail in _tails(key(row)):
                self._rows_ending[tail].append(row)

    def rows_of(self, number: int) -> tuple[list[Parts], list[int]]:
        """The rows that say most of a file, and further files that they fit as well."""
        below, whole = self._below[number], self._whole[number]
        covering = [row for tail in _tails(whole) if len(tail) >= len(below) for row in self._rows.get(tail, ())]
        if covering:
            return covering, []
        if len(below) > 1 and (elsewhere := self._rows_ending.get(below)):
            return elsewhere, []  # whole paths, of another folder or machine
        short = [row for tail in _tails(below) for row in self._rows.get(tail, ())]
        if short:
            return short, [other for other in self._files_ending[below[-len(short[0]) :]] if other != number]
        named = self._rows_ending.get(below[-1:], [])
        return (named, []) if len(self._files_ending[below[-1:]]) == 1 else ([], [])


def _tails(parts: Parts) -> Iterator[Parts]:
    """Trailing parts of a path, the longest first."""
    return (parts[start:] for start in range(len(parts)))


def parts_of(path: str) -> Parts:
    """The parts of a path of any system, in one Unicode form, without what does not change where it leads."""
    plain = unicodedata.normalize("NFC", path).strip().replace("\\", "/").removeprefix("s3://")
    return tuple(part for part in posixpath.normpath(plain).split("/") if part not in ("", ".", ".."))


def read_scene_table(scenes: SceneTable, root: Storage) -> SceneRows:
    """Reads a table from its CSV file.

    Raises:
        ImageSetError: If it is missing, cannot be read, lacks a column, or gives one file two scenes.
    """
    place = root.resolve(scenes.table)
    columns, rows = read_csv(place, "scene table")
    for column in (scenes.file_column, scenes.scene_column):
        if column not in columns:
            raise ImageSetError(
                f"The scene table '{place.uri}' has no column '{column}'; it has {', '.join(columns) or 'none'}."
            )
    return SceneRows([(row[scenes.file_column], row[scenes.scene_column]) for row in rows], place.uri)


def read_csv(place: Storage, what: str) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a CSV file with a header; values that a row lacks are empty.

    Args:
        place: The file.
        what: Its kind, for errors.

    Raises:
        ImageSetError: If it is missing, no CSV in UTF-8 or cannot be read.
    """
    try:
        reader = csv.DictReader(io.StringIO(place.read_bytes().decode("utf-8-sig")), restval="")
        return list(reader.fieldnames or []), list(reader)
    except FileNotFoundError:
        raise ImageSetError(f"There is no {what} '{place.uri}'.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImageSetError(f"The {what} '{place.uri}' is no CSV file in UTF-8: {error}.") from None
    except Exception as error:
        raise ImageSetError(f"The {what} '{place.uri}' cannot be read: {reason_of(error)}.") from None
