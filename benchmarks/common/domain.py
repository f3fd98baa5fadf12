"""A domain's images as shards, split by scene into training and validation, also with few of its training scenes.

Only the folder that a target's ``images`` names is listed: a test split beside it is never opened.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.data.shard_reader import read_manifest
from orchestrator.data.shards import build_shards
from orchestrator.experiment.image_settings import ImageSet
from orchestrator.foundation.model_store import FoundModel
from orchestrator.foundation.stage_record import fingerprint, run_stage
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile, list_files, listing_fingerprint
from orchestrator.training.finetune import DomainJob
from search_spaces import TransferSpace, find_space
from trainables.images.patch_pool import smallest_image
from trainables.loops.settings import Budget
from trainables.network.model_files import CARD
from trainables.network.network import frozen_depth_limit

VALIDATION_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every training of a table has in common.

    Attributes:
        budget: Steps, batch and evaluations.
        lr_patch: Side of an LR patch in pixels.
        validation_images: Most validation images that are scored.
        validation_crop: HR pixels of their middle that count.
    """

    budget: Budget
    lr_patch: int
    validation_images: int
    validation_crop: int


class Domain:
    """One target domain of a table.

    Args:
        name: Domain, or versioned id of its space.
        images: Its images, without any test split.
        root: What paths are relative to.
        model: The source model, its files already below ``out``.
        settings: What all trainings share.
        out: The table's folder.
    """

    def __init__(
        self, name: str, images: ImageSet, root: Storage, model: FoundModel, settings: Settings, out: Storage
    ) -> None:
        self.space: TransferSpace = find_space(name)
        self.name = self.space.domain
        self.depth_limit = frozen_depth_limit(model.net.architecture)
        self._model, self._settings, self._out = model, settings, out
        self._files, self._licence = list_files(images, root), images.licence

    def shards(self, scenes: int | None) -> dict[str, Any] | None:
        """Builds the shards with so many training scenes, unless they stand, and returns their manifest.

        Which scenes are set aside for validation does not depend on ``scenes``. None if there are not more than that
        many training scenes, so that the grid would be the full one again.
        """
        if scenes is None:
            return self._build(None, self._files, VALIDATION_SHARE)
        full = read_manifest(self._place(None))["scenes"]
        if len(full["train"]) <= scenes:
            return None
        nearest, files, share = with_few_scenes(self._files, full, scenes)
        manifest = self._build(scenes, files, share)
        assert manifest["scenes"] == {"train": nearest, "validation": full["validation"]}
        return manifest

    def job(self, scenes: int | None) -> DomainJob:
        """What a worker needs to fine-tune with so many training scenes, as a search would be told."""
        place, settings = self._place(scenes), self._settings
        return DomainJob(
            domain=self.name,
            shards=place,
            shards_digest=str(read_manifest(place)["digest"]),
            source=source_place(self._out, self._model),
            source_digest=str(self._model.card["sha256"]),
            degradation=self.space.degradation,
            scale=self._model.net.architecture.scale,
            budget=settings.budget,
            lr_patch=settings.lr_patch,
            validation_images=settings.validation_images,
            validation_crop=settings.validation_crop,
            threads=1,
            on_gpu=False,
        )

    def _place(self, scenes: int | None) -> Storage:
        return self._out.child("shards", self.name, "all" if scenes is None else f"{scenes}-scenes")

    def _build(self, scenes: int | None, files: list[Any], share: float) -> dict[str, Any]:
        place = self._place(scenes)
        least = smallest_image(self._settings.lr_patch, self._model.net.architecture.scale)
        inputs = fingerprint("tabular-shards-1", listing_fingerprint(files), share, least)

        def build() -> dict[str, Any]:
            build_shards(files, {"validation": share}, least, place, self._licence)
            return {}

        run_stage(f"shards {self.name}", place, inputs, build, lambda line: None)
        return read_manifest(place)


def with_few_scenes(
    files: Sequence[SourceFile], full: Mapping[str, Sequence[str]], scenes: int
) -> tuple[list[str], list[SourceFile], float]:
    """The files of so many training scenes and of all validation scenes; fewer scenes are a subset of more.

    Args:
        files: All files.
        full: Scenes of the splits ``train`` and ``validation`` of all files.
        scenes: Training scenes, fewer than there are.

    Returns:
        The training scenes in order, the files, and the share of validation scenes that splits them as before.
    """
    # The split orders scenes by this digest and sets the first ones aside, so that this share picks the same ones.
    nearest = sorted(full["train"], key=lambda scene: hashlib.sha256(scene.encode()).hexdigest())[:scenes]
    kept = {*nearest, *full["validation"]}
    return sorted(nearest), [file for file in files if file.scene in kept], len(full["validation"]) / len(kept)


def source_place(out: Storage, model: FoundModel) -> Storage:
    """Where a table's folder keeps its source model."""
    return out.child("source", str(model.card["sha256"])[:16])


def write_source(out: Storage, model: FoundModel) -> None:
    """Copies the source model's files below ``out``, the card last."""
    for name in sorted(model.files, key=lambda name: name == CARD):
        source_place(out, model).child(name).write_bytes(model.files[name])
