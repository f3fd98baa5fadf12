"""Matches LR images to HR images: by their names, or by a table."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.scene_table import Parts, parts_of, read_csv
from trainables.errors import ImageSetError, printable

Pair = tuple[str, str]
"""Paths of an HR and an LR image, each below its folder."""

_NAMED = 3


def pair_by_name(hr: Sequence[str], lr: Sequence[str], scale: int, one_folder: bool = False) -> list[Pair]:
    """Pairs the files of two folders whose paths are equal but for the ending.

    Of files without such a partner, names are compared without the marks that published sets put at their end, in
    either case, 4 being the scale factor: ``_HR``, ``_GT``, ``x4`` and ``_x4`` of HR images, ``_LR``, ``_LR4``,
    ``_LRx4``, ``x4``, ``_x4`` and ``_x1`` of LR images.

    Args:
        hr: Paths of HR images below their folder.
        lr: Paths of LR images below theirs.
        scale: Scale factor r.
        one_folder: Both folders are one, in which marks tell the sides.

    Returns:
        Pairs in the order of the HR images.

    Raises:
        ImageSetError: If a file has no partner, or two of them.
    """
    of_hr, of_lr = _marks(scale)
    if one_folder:
        hr, lr = ([path for path in hr if mark.search(_stem(path))] for mark in (of_hr, of_lr))
    pairs = _equal({path: _stem(path) for path in hr}, {path: _stem(path) for path in lr})
    own, others = set(pairs), set(pairs.values())
    pairs |= _equal(
        {path: of_hr.sub("", _stem(path)) for path in hr if path not in own},
        {path: of_lr.sub("", _stem(path)) for path in lr if path not in others},
    )
    _check_complete(pairs, hr, lr, scale)
    return [(path, pairs[path]) for path in hr]


class PairTable:
    """The rows of a table with two columns, ``hr`` and ``lr``.

    A path may be relative to its folder, to `root` or to any folder above, absolute, or a bare file name, with either
    kind of slash; it must fit one file alone.
    """

    def __init__(self, rows: Iterable[Pair], where: str) -> None:
        self._rows, self._where = list(rows), where

    def pairs(self, hr: Sequence[Pair], lr: Sequence[Pair]) -> list[Pair]:
        """Finds the files of each row; files that no row names belong to no pair.

        Args:
            hr: Place and path below it of every HR file.
            lr: The same of every LR file.

        Returns:
            Pairs in the order of the table.

        Raises:
            ImageSetError: If a row fits no file or several, or a file is in two pairs.
        """
        sides = [_Paths(files, name, self._where) for files, name in ((hr, "hr"), (lr, "lr"))]
        pairs = [(sides[0].find(first), sides[1].find(second)) for first, second in self._rows]
        for number, side in enumerate(("hr", "lr")):
            once: set[str] = set()
            for pair in pairs:
                if pair[number] in once:
                    raise ImageSetError(
                        f"The table of pairs '{self._where}' names '{printable(pair[number])}' twice in its column "
                        f"'{side}'; each image may be in one pair."
                    )
                once.add(pair[number])
        return pairs


def read_pair_table(table: str, root: Storage) -> PairTable:
    """Reads a CSV file with the columns ``hr`` and ``lr``.

    Raises:
        ImageSetError: If it is missing, cannot be read, lacks a column, or has a row with one side alone.
    """
    place = root.resolve(table)
    columns, rows = read_csv(place, "table of pairs")
    for column in ("hr", "lr"):
        if column not in columns:
            raise ImageSetError(
                f"The table of pairs '{place.uri}' needs the columns 'hr' and 'lr'; it has "
                f"{', '.join(columns) or 'none'}."
            )
    pairs = [(row["hr"].strip(), row["lr"].strip()) for row in rows]
    if one_sided := [first or second for first, second in pairs if bool(first) != bool(second)]:
        raise ImageSetError(
            f"{_count(len(one_sided), 'row')} of the table of pairs '{place.uri}' name one image alone, "
            f"{_such_as(one_sided)}; give both sides or remove them."
        )
    return PairTable([pair for pair in pairs if pair[0]], place.uri)


class _Paths:
    """Files by the ends of their paths."""

    def __init__(self, files: Sequence[Pair], column: str, where: str) -> None:
        self._column, self._where = column, where
        self._ending: dict[Parts, set[str]] = defaultdict(set)
        self._below: dict[Parts, str] = {}
        for place, path in files:
            whole, below = parts_of(f"{place}/{path}"), parts_of(path)
            self._below[below] = path
            for start in range(len(whole)):
                self._ending[whole[start:]].add(path)

    def find(self, written: str) -> str:
        parts = parts_of(written)
        fitting = {self._below[parts]} if parts in self._below else self._ending.get(parts, set())
        if not fitting:  # a path of another machine
            tails = (parts[start:] for start in range(len(parts)))
            fitting = {next((self._below[tail] for tail in tails if tail in self._below), "")} - {""}
        if len(fitting) == 1:
            return next(iter(fitting))
        which = f"fits {len(fitting)} files, {_such_as(sorted(fitting))}" if fitting else "fits no file"
        raise ImageSetError(
            f"The table of pairs '{self._where}' has '{printable(written)}' in its column '{self._column}', which "
            f"{which}; write the path below the folder of images."
        )


def _marks(scale: int) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Endings of the names of HR and of LR images."""
    alone = r"(?:^|(?<=/)|[_-])"
    of_hr = rf"{alone}(?:hr|gt)$|[_-]?x{scale}$"
    of_lr = rf"{alone}lr(?:[_-]?x?{scale})?$|[_-]?x{scale}$|[_-]x1$"
    return re.compile(of_hr, re.IGNORECASE), re.compile(of_lr, re.IGNORECASE)


def _stem(path: str) -> str:
    """A path without its ending, its parts in one Unicode form."""
    *folders, name = parts_of(path)
    return "/".join([*folders, name.rpartition(".")[0] or name])


def _equal(hr: Mapping[str, str], lr: Mapping[str, str]) -> dict[str, str]:
    """HR and LR files of equal keys."""
    files: list[dict[str, list[str]]] = [defaultdict(list), defaultdict(list)]
    for side, keys in enumerate((hr, lr)):
        for path, key in keys.items():
            files[side][key].append(path)
    pairs = {}
    for key in sorted(files[0].keys() & files[1].keys()):
        several = next((side[key] for side in files if len(side[key]) > 1), None)
        if several:
            raise ImageSetError(
                f"{len(several)} images of one side could be in one pair, {_such_as(several)}; rename them, or give a "
                "table of pairs."
            )
        pairs[files[0][key][0]] = files[1][key][0]
    return pairs


def _check_complete(pairs: Mapping[str, str], hr: Sequence[str], lr: Sequence[str], scale: int) -> None:
    paired = set(pairs.values())
    sides = [
        ("HR", "LR", hr, [path for path in hr if path not in pairs]),
        ("LR", "HR", lr, [path for path in lr if path not in paired]),
    ]
    said = [
        f"{len(alone)} of {_count(len(files), side + ' image')} {'has' if len(alone) == 1 else 'have'} no {other} "
        f"image, {_such_as(alone)}"
        for side, other, files, alone in sides
        if alone
    ]
    if said:
        raise ImageSetError(
            f"Pairs with one side missing: {'; '.join(said)}. Names must be equal but for endings such as _HR and "
            f"_LR{scale}; otherwise give a table of pairs."
        )
    if not pairs:
        raise ImageSetError(f"There is no pair: names of one folder must end in marks such as _HR and _LR{scale}.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _such_as(names: Sequence[str]) -> str:
    return "such as " + ", ".join(f"'{printable(name)}'" for name in names[:_NAMED])
