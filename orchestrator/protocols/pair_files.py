"""Test pairs from folders: files matched by name, with one sentence for whatever is missing."""

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.protocols.protocol import BenchmarkPair, LoadedPair
from trainables.errors import UsageError, printable
from trainables.images.codec import decode

Key = Callable[[Path], str]


def first_folder(root: Path, *candidates: str) -> Path | None:
    """The first of some folders below a root that exists; None where none does."""
    return next((folder for name in candidates if (folder := root / name).is_dir()), None)


def keyed(folder: Path, pattern: str, key: Key) -> dict[str, Path]:
    """Files of a folder that match a pattern, by their key, in order of their names."""
    return {key(file): file for file in sorted(folder.glob(pattern)) if file.is_file()}


def matched(title: str, hr: Mapping[str, Path], lr: Mapping[str, Path]) -> list[tuple[str, Path, Path]]:
    """Files with the same key on both sides.

    Raises:
        UsageError: If a file has no counterpart.
    """
    lonely = sorted(hr.keys() ^ lr.keys())
    if lonely:
        side = "LR" if lonely[0] in hr else "HR"
        raise UsageError(
            f"{len(lonely)} of {len(hr.keys() | lr.keys())} test pairs of {title} lack one side, such as "
            f"'{printable(lonely[0])}' without {side}: complete the download, or correct --data and --scale."
        )
    return [(key, hr[key], lr[key]) for key in hr]


def plain_pair(name: str, hr: Path, lr: Path | None, part: str, scene: str | None = None) -> BenchmarkPair:
    """A pair of 8-bit images."""

    def load() -> LoadedPair:
        return LoadedPair(
            decode(hr.read_bytes()).pixels[None], None if lr is None else decode(lr.read_bytes()).pixels[None]
        )

    return BenchmarkPair(name, scene or name, part, load)
