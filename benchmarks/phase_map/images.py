"""Images of the map's cells: one set of LR-HR pairs of each domain, and shards with few of its training scenes.

A set holds an HR image's middle and what the hidden camera makes of it. Simulated shifts use its HR images alone, so
that all shifts of a domain have the same scenes, images and split. Only ``train/`` of a domain is opened.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.common.domain import with_few_scenes
from benchmarks.common.domain_images import PAINTER
from benchmarks.common.pair_sets import list_set, write_set
from orchestrator.data.shard_reader import read_manifest
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet, PairReading
from orchestrator.foundation.stage_record import fingerprint, run_stage
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile, list_files, listing_fingerprint
from trainables.images.patch_pool import smallest_image

VALIDATION_SHARE = 0.4
"""Of scenes: half of them choose a configuration, the others judge it."""

LICENCE = "see its sources"


@dataclass(frozen=True)
class Content:
    """One domain's images.

    Attributes:
        name: The domain.
        root: Folder that holds ``NAME/train`` and ``manifest.csv``.
        out: The map's folder.
        scale: Scale factor r.
        lr_patch: Side of a training patch in LR pixels.
        scenes: What a scene is: ``table``, ``file`` or ``folder``.
    """

    name: str
    root: Storage
    out: Path
    scale: int
    lr_patch: int
    scenes: str = "table"

    @cached_property
    def pairs(self) -> list[SourceFile]:
        """Files of the pairs, written unless they stand."""
        folder = self.out / "images" / self.name
        write_set(list_files(_image_set(self.name, self.scenes), self.root), folder, self.scale)
        return list_set(folder, self.scale)

    @cached_property
    def simulated(self) -> list[SourceFile]:
        """Files of the HR images alone."""
        folder = Storage.at(str(self.out / "images" / self.name))
        return list_files(ImageSet.model_validate({"images": "hr", "scenes": "folder"}), folder)

    @cached_property
    def splits(self) -> Mapping[str, list[str]]:
        """Scenes for training and for validation."""
        return self._splits_of(self._build(None, real=False))

    def shards(self, scenes: int | None, real: bool) -> Storage:
        """Shards with so many training scenes, all for None, as pairs or HR images alone; built unless they stand."""
        return self._build(scenes, real)

    def _build(self, scenes: int | None, real: bool) -> Storage:
        files = self.pairs if real else self.simulated
        share, count = VALIDATION_SHARE, "all" if scenes is None else f"{scenes}-scenes"
        if scenes is not None:
            _, files, share = with_few_scenes(files, self.splits, scenes)
        place = Storage.at(str(self.out / "shards" / self.name / f"{count}{'-pairs' if real else ''}"))
        least = smallest_image(self.lr_patch, self.scale)
        reading = PairReading(self.scale, refuse=False) if real else None

        def build() -> dict[str, object]:
            build_shards(files, {"validation": share}, least, place, LICENCE, pairs=reading)
            return {}

        inputs = fingerprint("phase-map-shards-1", listing_fingerprint(files), share, least, real)
        run_stage(f"shards {self.name}, {count}", place, inputs, build, lambda line: None)
        return place

    @staticmethod
    def _splits_of(place: Storage) -> Mapping[str, list[str]]:
        return dict(read_manifest(place)["scenes"])


def _image_set(name: str, scenes: str) -> ImageSet:
    found: object = scenes
    if scenes == "table":
        pattern = PAINTER if name == "art" else None
        found = {"table": "manifest.csv", "scene_column": "scene_group", "pattern": pattern}
    return ImageSet.model_validate({"images": f"{name}/train", "scenes": found})
