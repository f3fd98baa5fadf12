"""An archive as a run finds it: scenes, outputs and ledgers, and the work that follows from them and the settings."""

from dataclasses import dataclass, replace

from orchestrator.archive.batch.options import Options
from orchestrator.archive.batch.plan import Plan, Recipe, digest, make_plan
from orchestrator.archive.ledger.ledger import Records, SceneHistory, read_records
from orchestrator.archive.places.listing import Scene
from orchestrator.archive.scene.types import SceneSettings
from orchestrator.foundation.model_store import ModelFiles
from orchestrator.foundation.storage import Storage

FORMAT = "archive-2"
"""Format of outputs; those of another format are made again."""
"""Version of this package's outputs: changes with what their bytes depend on beside model and settings."""


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """Scenes of a run, with what the outputs and the ledgers of former runs tell about them.

    Attributes:
        found: The model.
        scenes: From :func:`orchestrator.archive.places.listing.list_archive`.
        out: Place of the outputs.
        options: Options of the run.
        existing: Bytes of the outputs that exist, by their places.
        records: Events of the ledgers.
        histories: Scene histories by the output's place.
    """

    found: ModelFiles
    scenes: list[Scene]
    out: Storage
    options: Options
    existing: dict[str, int]
    records: Records
    histories: dict[str, SceneHistory]

    @classmethod
    def read(cls, found: ModelFiles, scenes: list[Scene], out: Storage, options: Options) -> "ArchiveState":
        """Reads the outputs and the ledgers.

        Raises:
            StorageError: If a bucket does not answer.
        """
        existing = _existing(scenes, out)
        # Read after the outputs: what a run beside this one has ended by then has a row.
        records = read_records(out)
        return cls(found, scenes, out, options, existing, records, records.histories)

    @property
    def all_tried(self) -> bool:
        """True if every scene has a history: then all may be finished."""
        return all(scene.output in self.histories for scene in self.scenes)

    def plan(self, settings: SceneSettings) -> tuple[Recipe, Plan]:
        """Recipe and plan of a run.

        Args:
            settings: Settings whose device, precision and measured range are known.
        """
        recipe, options = recipe_of(self.found, settings), self.options
        again = options.overwrite, options.retry_failed
        plan = make_plan(self.scenes, self.histories, self.existing, recipe, *again, self.out.uri, options.strict)
        return recipe, plan

    def finished_settings(self, settings: SceneSettings) -> SceneSettings | None:
        """Settings with the precision in which all scenes are finished: then no device has to tell its own."""
        either = (replace(settings, precision="bfloat16"), replace(settings, precision="float32"))
        return next((known for known in either if not self.plan(known)[1].work), None)


def recipe_of(found: ModelFiles, settings: SceneSettings) -> Recipe:
    """Recipe of outputs by a model under settings whose device and precision are known."""
    files = {name: digest(data.hex()) for name, data in found.files.items()}
    return Recipe(digest(files), digest([FORMAT, settings.of_the_result(), settings.device]))


def _existing(scenes: list[Scene], out: Storage) -> dict[str, int]:
    wanted = {scene.output for scene in scenes}
    return {uri: file.size for file in out.files() if (uri := out.child(file.path).uri) in wanted}
