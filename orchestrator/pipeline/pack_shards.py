"""Packs the image sets of an experiment into shards, and keeps every target's test images out of all training."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial

from orchestrator.data.manifest import Manifest
from orchestrator.data.separation import SEPARATION, shared_pictures, tested_elsewhere
from orchestrator.data.shard_reader import MANIFEST, PICTURES, read_manifest
from orchestrator.data.shard_verify import check_sound
from orchestrator.data.shards import build_shards
from orchestrator.foundation.record import Count, Record
from orchestrator.foundation.stage_record import RECORD, StageRecord
from orchestrator.foundation.storage import Storage
from orchestrator.image_sets.set_files import SourceFile
from orchestrator.jobs.stage_jobs import SOURCE, Jobs
from trainables.images.raster import PixelFormat

_LISTED = 5


class ShardsResult(Record):
    """Packed shards of an image set.

    Attributes:
        digest: Of the manifest of its training and validation images.
        test_images: Images of its locked test split.
    """

    digest: str
    test_images: Count


class Packing:
    """Packs the image sets of one experiment.

    Args:
        jobs: The experiment's places and fingerprints.
        files: The listed files of every set.
        log: Logs one line.
        run: Runs the stage for a set, given its name and work, unless it has finished; returns the stage's record.
        build: Packs one set, as :func:`orchestrator.data.shards.build_shards` does.
    """

    def __init__(
        self,
        jobs: Jobs,
        files: Mapping[str, list[SourceFile]],
        log: Callable[[str], None],
        run: Callable[[str, Callable[[], ShardsResult]], StageRecord],
        build: Callable[..., Manifest] = build_shards,
    ) -> None:
        self._jobs, self._files, self._log = jobs, files, log
        self._run, self._build_shards = run, build

    def pack(self, names: list[str], doing: Callable[[str], AbstractContextManager[None]]) -> None:
        """Packs unfinished sets, then again those that share a picture with the test split of another target.

        Args:
            names: Names of the sets; the source is packed last, when all test images are known.
            doing: Context in which a set is packed: shows its name, and decides whether the others go on if it fails.

        Raises:
            ImageSetError: If a set has too few images or scenes.
            RunError: If written shards cannot be read again.
        """
        for name in sorted(names, key=lambda name: name == SOURCE):
            with doing(name):
                record = self._run(name, self._builder(name))
                self._report(name, ShardsResult.parse(record.result).test_images)
        self._separate(doing)

    def _builder(self, name: str) -> Callable[[], ShardsResult]:
        def build() -> ShardsResult:
            if (known := self._jobs.place("shards", SEPARATION)).exists():
                known.delete()
            return self._build(name, tested_elsewhere(name, self._tests()) if name == SOURCE else {})

        return build

    def _build(self, name: str, avoided: dict[str, str]) -> ShardsResult:
        jobs, place = self._jobs, self._place(name)
        licence, locked = jobs.image_set(name).licence, None if name == SOURCE else jobs.locked_test(name)
        shares, least_side = jobs.shares(name), jobs.least_side(name)
        reading = jobs.deep(name), jobs.pairs(name)
        manifest = self._build_shards(self._files[name], shares, least_side, place, licence, locked, avoided, *reading)
        others = [locked] if locked else []
        check_sound(place, *others)
        tested = sum(read_manifest(other)["images"]["test"] for other in others)
        return ShardsResult(digest=manifest["digest"], test_images=tested)

    def _separate(self, doing: Callable[[str], AbstractContextManager[None]]) -> None:
        """Compares every set with the test splits of all targets, once after each build.

        Shards of version 0.2.0 are not compared, and so not built again, until one of the experiment's sets is built.
        """
        sets = {name: self._place(name) for name in self._files if self._place(name).child(MANIFEST).exists()}
        builds = {name: (place.child(RECORD).read_json() or {}).get("inputs") for name, place in sets.items()}
        known = self._jobs.place("shards", SEPARATION)
        if known.read_json() == builds or not any(place.child(PICTURES).exists() for place in sets.values()):
            return
        for name, count in shared_pictures(sets, self._tests()).items():
            self._log(
                f"shards {name}: {count} of its training and validation images are test images of another "
                "target; packing it again without them"
            )
            builds[name] = None  # until it is built without them
            with doing(name):
                avoided = tested_elsewhere(name, self._tests())
                sets[name].child(RECORD).delete()  # the files that it lists are about to change
                record = self._run(name, partial(self._build, name, avoided))
                self._report(name, ShardsResult.parse(record.result).test_images)
                builds[name] = record.inputs
        if None not in builds.values():
            known.write_json(builds)

    def _tests(self) -> dict[str, Storage]:
        places = {name: self._jobs.locked_test(name) for name in self._files if name != SOURCE}
        return {name: place for name, place in places.items() if place.child(MANIFEST).exists()}

    def _place(self, name: str) -> Storage:
        return self._jobs.place("shards", name)

    def _report(self, name: str, tested: int) -> None:
        manifest = read_manifest(self._place(name))
        counts = ", ".join(f"{count} {split}" for split, count in manifest["images"].items())
        locked, skipped = f", {tested} test (locked)" if tested else "", manifest["skipped"]
        self._log(f"  {counts}{locked} images" + (f"; {len(skipped)} files left out:" if skipped else ""))
        if stated := manifest.get("pixel_format"):
            self._log(f"  {PixelFormat.from_dict(stated).describe()}")
        for entry in skipped[:_LISTED]:
            self._log(f"    {entry['file']}: {entry['reason']}")
        if len(skipped) > _LISTED:
            self._log(f"    and {len(skipped) - _LISTED} more: rayscale shards info {self._place(name).uri}")
        for note in manifest.get("notes", []):
            self._log(f"  note: {note}")
