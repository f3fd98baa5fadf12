"""Notes for the user on the split of a set: what its scenes are, lopsided shares, and images that look alike."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from orchestrator.data.file_rows import Row
from orchestrator.image_sets.set_files import SourceFile
from trainables.errors import ImageSetError

_FAR, _LEAST_IMAGES, _DOMINANT = 0.15, 10, 0.5
"""Least difference of shares, number of images and share of one scene for a split to count as lopsided."""

_ALIKE, _LEAST_PAIRS = 3, 3
"""Most bits of 64 in which look-alike images differ, and the least number of pairs that is noted."""


def split_notes(files: Sequence[SourceFile], splits: Mapping[str, list[Row]], shares: Mapping[str, float]) -> list[str]:
    """Lines about a split; none where there is nothing to say.

    Args:
        files: The listed files.
        splits: The rows of each split.
        shares: The shares of scenes that were asked for.

    Raises:
        ImageSetError: If scenes are folders whose names come again in several folders, as those of series do in each
            patient's.
    """
    return [*_of_rule(files), *_lopsided(splits, shares), *_alike(splits)]


def _of_rule(files: Sequence[SourceFile]) -> list[str]:
    own = [file for file in files if not file.test]
    folders = Counter(str(PurePosixPath(file.facts.path).parent) for file in own)
    if all(file.scene == file.facts.path for file in own):
        large = [folder for folder, count in folders.items() if folder != "." and count > 1]
        if len(large) > 1:
            return [
                f"each file is its own scene, though {len(large)} folders such as '{min(large)}' hold several: if "
                "those show one patient, camera or place each, set `scenes: folder`"
            ]
        return []
    if not all(file.scene == str(PurePosixPath(file.facts.path).parent) for file in own):
        return []
    notes = []
    if 0 < folders["."] < len(own):
        notes.append(f"the {folders['.']} images that lie in no folder are one scene, '.'")
    inner: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        parent, _, name = folder.rpartition("/")
        if parent:
            inner[parent].add(name)
    several = sorted(parent for parent, names in inner.items() if len(names) > 1)
    if len(several) > 1:
        first, second = (f"{several[0]}/{name}" for name in sorted(inner[several[0]])[:2])
        again = set.intersection(*(inner[parent] for parent in several[:2]))
        if again:
            raise ImageSetError(
                f"With `scenes: folder`, '{first}' and '{second}' would be two scenes, and folders of the same names "
                f"lie in {len(several)} folders such as '{several[1]}': if '{several[0]}' is one patient, it would be "
                'on two sides. Say which folder is the scene: `scenes: {pattern: "^([^/]+)/"}` for the outermost, '
                '`scenes: {pattern: "^(.+/)"}` for the innermost.'
            )
        notes.append(
            f"'{first}' and '{second}' are two scenes, as in {len(several)} folders: if '{several[0]}' is one patient "
            'or place, set `scenes: {pattern: "^([^/]+)/"}`'
        )
    return notes


def _lopsided(splits: Mapping[str, list[Row]], shares: Mapping[str, float]) -> list[str]:
    sizes = {split: len(rows) for split, rows in splits.items() if split == "train" or split in shares}
    whole = sum(sizes.values())
    if whole < _LEAST_IMAGES:
        return []
    asked = {"train": 1 - sum(shares.values()), **shares}
    notes = []
    for split, size in sizes.items():
        share = size / whole
        if abs(share - asked[split]) > _FAR and not asked[split] / 2 <= share <= asked[split] * 2:
            scenes = Counter(row["scene_id"] for row in splits[split])
            scene, count = scenes.most_common(1)[0]
            dominant = f"; scene '{scene}' alone has {count}" if count > size * _DOMINANT and len(scenes) > 1 else ""
            dominant = dominant or (f", all of scene '{scene}'" if len(scenes) == 1 else "")
            notes.append(
                f"{split} has {size} of {whole} images ({share:.0%}), {asked[split]:.0%} were asked for{dominant}: "
                "shares count scenes. Divide large scenes where that is right, set other shares, or name `test_images`"
            )
    return notes


def _alike(splits: Mapping[str, list[Row]]) -> list[str]:
    """Notes images in different splits that look alike: all but equal neighbours by name, or equal looks anywhere."""
    split_of = {row["origin"]: split for split, rows in splits.items() for row in rows}
    rows = sorted((row for rows in splits.values() for row in rows), key=lambda row: str(row["origin"]))
    pairs = {
        (a["origin"], b["origin"])
        for a, b in pairwise(rows)
        if a["look"] is not None and b["look"] is not None and (a["look"] ^ b["look"]).bit_count() <= _ALIKE
    }
    by_look: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row["look"] is not None:
            by_look[row["look"]].append(row)
    pairs |= {(a["origin"], b["origin"]) for alike in by_look.values() for a, b in pairwise(alike)}
    apart = sorted((a, b) for a, b in pairs if split_of[a] != split_of[b])
    if len(apart) < _LEAST_PAIRS:
        return []
    (a, b), count = apart[0], len(apart)
    return [
        f"{count} pairs of images that look alike are in different splits, such as {a} in {split_of[a]} and {b} in "
        f"{split_of[b]}: if they show the same thing, as frames of one video do, name what must stay together in "
        "`scenes`"
    ]
