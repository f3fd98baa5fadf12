"""The finish stage: the winner's configuration trained for longer and on validation images too, scored on the test."""

import time
from collections.abc import Sequence

from orchestrator.finish.driver import drive_finish
from orchestrator.finish.job import FinishJob
from orchestrator.finish.record import FinishRecord
from orchestrator.foundation.stage_record import Check, Vouched
from orchestrator.pipeline.run_context import RunContext
from orchestrator.pipeline.stages.run_files import set_aside
from orchestrator.pipeline.stages.stage import Stage, trial_request
from trainables.metrics.constant_fields import constant_field_sentence
from trainables.network.model_files import CARD, WEIGHTS

_TRAINED = ("steps-", "all-images-")
"""Beginnings of the names of trainings, which the number of steps follows."""


class FinishStage(Stage):
    """Trains finished models."""

    name, noun = "finish", "finish"
    result = FinishRecord

    def names(self, domains: Sequence[str]) -> tuple[str, ...]:
        """Every domain, or none where the confirmed models are the last ones."""
        return tuple(domains) if self.jobs.experiment.finish.enabled else ()

    def inputs(self, name: str) -> str:
        """Fingerprint of a finished model."""
        return self.jobs.finish_inputs(name)

    def vouched(self, name: str) -> Vouched:
        """Its trainings, the record of the opened test split, and the domain's model without what lies below it."""
        job = self.jobs.finish(name)
        return Vouched(self.home, [job.runs, job.opening, job.model.child(WEIGHTS), job.model.child(CARD)])

    def requests(self, domains: Sequence[str]) -> dict[str, str]:
        """Resources of its trainings, which are those of trials."""
        return {self.title(domain): trial_request(self.jobs) for domain in domains}

    def run(self, run: RunContext) -> None:
        """Trains the finished models of all domains at once."""
        domains = self.unfinished(run)
        if not domains:
            return
        longest = self.jobs.experiment.finetuning.steps * 2**self.jobs.experiment.finish.doublings
        run.log(f"finish: at most {longest} steps for {', '.join(domains)}")
        start, progress = time.monotonic(), run.progress

        def job_of(domain: str) -> FinishJob:
            return self.jobs.finish(domain, progress)

        def done(domain: str, finished: FinishRecord) -> None:
            self.finish(domain, start, finished.plain())
            decided = finished.decision.sentence() if finished.decision else "the source model won, nothing to train"
            run.log(f"finish {domain}: done, {decided}")
            if sentence := constant_field_sentence(finished.constant_fields):
                run.log(f"  {sentence}")

        self.run_domains(run, domains, job_of, drive_finish, done)

    def prepare(self, name: str, check: Check) -> None:
        """Deletes damaged trainings, and restores the record of the opened test split from the stage's record."""
        if check.record is not None:
            for path in check.damage:
                folder, _, _ = path.rpartition("/")
                if folder.rpartition("/")[2].startswith(_TRAINED):
                    self.home.child(folder).delete_folder()  # a length that lost is not trained again
                else:
                    set_aside(self.home, path, check.record.result.get("opened"))

    def steps_done(self, name: str) -> int:
        """Steps that are trained already for an unfinished model."""
        place = self.place(name).child(f"runs-{self.inputs(name)}")
        runs = [facts.path.partition("/")[0] for facts in place.files() if facts.path.endswith("/run.json")]
        lengths = [run.removeprefix(begin) for run in runs for begin in _TRAINED if run.startswith(begin)]
        return sum(int(length.partition("-")[0]) for length in lengths)
