"""The shards stage: packs every image set, and keeps the targets' test images out of all training."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from orchestrator.data.shard_reader import MANIFEST, read_manifest
from orchestrator.data.shards import SPLITS, build_shards
from orchestrator.experiment.image_settings import Target
from orchestrator.foundation.artefact_digests import Damage, FileDigest, damage_of
from orchestrator.foundation.stage_record import StageRecord, Vouched
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile
from orchestrator.jobs.stage_jobs import SOURCE, Jobs
from orchestrator.pipeline.pack_shards import Packing, ShardsResult
from orchestrator.pipeline.run_context import RunContext
from orchestrator.pipeline.stages.stage import Stage
from trainables.errors import RayScaleError, reason_of

Counts = dict[str, int]


class ShardsStage(Stage):
    """Packs image sets.

    Args:
        jobs: The experiment's folders and fingerprints.
        with_tests: As of :class:`Stage`.
        files: The listed files of every set.
    """

    name, noun = "shards", "shards"
    result = ShardsResult

    def __init__(self, jobs: Jobs, with_tests: bool, files: Mapping[str, list[SourceFile]]) -> None:
        super().__init__(jobs, with_tests)
        self.files = files

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """The source's image set, if there is one, and the targets'."""
        return tuple(name for name in self.files if name == SOURCE or name in domains)

    def inputs(self, name: str) -> str:
        """Fingerprint of a set of shards."""
        return self.jobs.shard_inputs(name, self.files[name])

    def vouched(self, name: str) -> Vouched:
        """The shards, with the digests of their manifests."""
        places = self._places(name)
        known = {part.path: part for shards in places for part in self._parts(shards)}
        return Vouched(self.home, places, known)

    def run(self, run: RunContext) -> None:
        """Packs the targets' sets, and the source's last, when all test images are known."""
        packing = Packing(self.jobs, self.files, run.log, partial(self.run_one, run), build_shards)
        packing.pack(list(self.names(run.domains)), lambda name: run.working_on(name, self.noun))

    def older_damage(self, name: str, record: StageRecord, most_bytes: float) -> Damage:
        """Files that differ from their manifest."""
        tested = self.with_tests and bool(record.result.get("test_images"))
        damage: Damage = {}
        for place in self._places(name)[: 2 if tested else 1]:
            try:
                damage |= damage_of(self.home, list(self._parts(place)), most_bytes)
            except Exception as error:
                damage[f"{self.below_home(place)}/{MANIFEST}"] = f"is missing or damaged ({reason_of(error)})"
        return damage

    def is_packed(self, name: str) -> bool:
        """True if a set's shards are built and their manifest can be read; otherwise they are built again."""
        if not self.finished(name):
            return False
        try:
            self._packed(name)
        except RayScaleError:
            return False
        return True

    def images(self, packed: set[str], per_file: Mapping[str, float]) -> dict[str, Counts]:
        """Images of each split by set, counted in the shards of packed sets, and estimated from shares of others."""
        return {
            name: self._packed(name) if name in packed else self._estimated(name, per_file.get(name, 1))
            for name in self.files
        }

    def _packed(self, name: str) -> Counts:
        return {split: count for place in self._places(name) for split, count in read_manifest(place)["images"].items()}

    def _estimated(self, name: str, per_file: float) -> Counts:
        """Images of each split, estimated as if scenes were equally large; a separate test folder is counted."""
        files = self.files[name]
        own = [file for file in files if not file.test]
        scenes, shares = len({file.scene for file in own}), self.jobs.shares(name)
        counts = {split: round(len(own) * max(1, round(share * scenes)) / scenes) for split, share in shares.items()}
        counts["train"] = max(1, len(own) - sum(counts.values()))
        if isinstance(self.jobs.image_set(name), Target):
            counts.setdefault("test", len(files) - len(own))
        return {
            split: max(min(counts[split], 1), round(counts[split] * per_file)) for split in SPLITS if split in counts
        }

    def _parts(self, shards: Storage) -> Iterator[FileDigest]:
        """Files of a set of shards with sizes and digests of its manifest, and paths below the experiment's folder."""
        for part in read_manifest(shards)["files"]:
            path = f"{self.below_home(shards)}/{part['path']}"
            yield FileDigest(path=path, bytes=part["bytes"], sha256=part["sha256"])

    def _places(self, name: str) -> list[Storage]:
        """A set's shards and, of a target, its locked test split."""
        return [self.place(name), *([] if name == SOURCE else [self.jobs.locked_test(name)])]
