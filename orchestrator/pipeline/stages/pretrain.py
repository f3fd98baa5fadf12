"""The pretrain stage: trains the source model, or copies the model that the experiment starts from."""

import shlex
import time
from collections.abc import Sequence

from orchestrator.foundation.artefact_digests import Damage, sentence
from orchestrator.foundation.model_store import FoundModel
from orchestrator.foundation.quantities import plural
from orchestrator.foundation.stage_record import RECORD, StageRecord, Vouched
from orchestrator.foundation.storage import Storage
from orchestrator.jobs.stage_jobs import SOURCE
from orchestrator.pipeline.run_context import RunContext
from orchestrator.pipeline.stages.stage import Stage
from orchestrator.training.pretrain import pretrain_source
from orchestrator.training.record import FoundSource, PretrainResult
from trainables.network.model_files import CARD, WEIGHTS


class PretrainStage(Stage):
    """Trains or copies the source model."""

    name, noun = "pretrain", "pretrain"

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """The source alone."""
        del domains
        return (SOURCE,)

    def place(self, name: str) -> Storage:
        """Folder of the source model."""
        del name
        return self.jobs.place("source")

    def title(self, name: str) -> str:
        """The stage's name alone: there is one source model."""
        del name
        return self.noun

    def inputs(self, name: str) -> str:
        """Fingerprint of the source model."""
        del name
        return self.jobs.source_inputs()

    def vouched(self, name: str) -> Vouched:
        """The model."""
        place = self.place(name)
        return Vouched(self.home, [place.child(WEIGHTS), place.child(CARD)])

    def requests(self, domains: Sequence[str]) -> dict[str, str]:
        """Its workers."""
        del domains
        section = self.jobs.experiment.pretraining
        worker = plural(section.gpus_per_worker, "GPU") if section.gpus_per_worker else "a CPU or a share of one"
        return {"pretraining": f"{plural(section.workers, 'worker')} with {worker} each"}

    def run(self, run: RunContext) -> None:
        """Trains the source model on the cluster, or copies the existing model that the experiment names."""
        if found := self.jobs.experiment.source_model:
            self._adopt(found, run)
            return

        def train() -> PretrainResult:
            place, shards, progress = self.place(SOURCE), self.jobs.place("shards", SOURCE), run.progress
            return pretrain_source(self.jobs.experiment, shards, place, run.runner, progress, self.inputs(SOURCE))

        self.run_one(run, SOURCE, train)
        uri = shlex.quote(self.place(SOURCE).uri)
        run.log(f"  to use it as it is: rayscale upscale YOUR_IMAGES UPSCALED --model {uri}")

    def older_damage(self, name: str, record: StageRecord, most_bytes: float) -> Damage:
        """A model that cannot be read."""
        del record, most_bytes
        return self.model_damage(self.place(name))

    def steps_left(self, with_shards: bool) -> int:
        """Steps that remain to be trained; all of them if the source's shards are not built."""
        if self.jobs.experiment.source_model is not None or (with_shards and self.finished(SOURCE)):
            return 0
        return self.jobs.experiment.pretraining.steps - (self._checkpoint() if with_shards else 0)

    def _checkpoint(self) -> int:
        """The step of the last checkpoint of an interrupted pretraining."""
        place = self.place(SOURCE).child("ray", f"run-{self.inputs(SOURCE)}")
        kept = [place.child(facts.path).read_json() for facts in place.files() if facts.path.endswith("/history.json")]
        return max((int(history["step"]) for history in kept if history), default=0)

    def _adopt(self, found: FoundModel, run: RunContext) -> None:
        run.log(f"pretrain: source model {found.where}, nothing to train")
        place, check = self.place(SOURCE), self.check(SOURCE)
        if check.finished:
            return
        if check.damage:
            run.log(f"pretrain: {sentence(check.damage)}, copied again")
        start = time.monotonic()
        if place.child(RECORD).exists():
            place.child(RECORD).delete()  # of another model: its record must not outlive its files
        for name, data in found.files.items():
            place.child(name).write_bytes(data)
        self.finish(SOURCE, start, FoundSource(model=found.where).plain())
